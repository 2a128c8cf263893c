/** What comes of an instruction that the hypervisor is to execute for a VCPU, and what those who do so share. */
import iced from 'iced-x86';
import { ST } from './state.js';

/** `again`: it is begun anew, for some of it is done. `refused`: its own fault stays; `raised`: there is another exception in the block. */
export type Outcome = 'done' | 'again' | 'refused' | 'raised';

/** By iced-x86's mnemonics. */
export type Emulations = Readonly<Record<string, (st: number, instruction: iced.Instruction) => Outcome>>;

/** Offset in a block of a general register, as wide as it is. */
export const registerAt = (register: number): number =>
  ST.gpr + 8 * iced.RegisterExt.number(iced.RegisterExt.fullRegister(register));

/** Whether bits 47 to 63 are equal. */
export const isCanonical = (address: bigint): boolean => BigInt.asIntN(48, address) === BigInt.asIntN(64, address);
