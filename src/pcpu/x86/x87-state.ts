/** Instructions that store and load the whole state of the x87 or its environment (Intel SDM vol. 2, FNSTENV, FNSAVE, FXSAVE and their inverses). */
import type { Image } from '../../shared/image.js';
import type { Areas, Extent } from './areas.js';
import { MXCSR } from './soft-float.js';
import { ST, VECTOR } from './state.js';
import {
  type EnvironmentBytes,
  FX,
  putEnvironment,
  putFx,
  putState,
  stateBytes,
  takeEnvironment,
  takeFx,
  takeState,
} from './x87-images.js';
import { FSW, type X87Registers } from './x87-registers.js';

/** Each is done at `address` of the VCPU's block; false: an exception is set up. */
export interface X87State {
  storeEnvironment(st: number, bytes: EnvironmentBytes): boolean;
  loadEnvironment(st: number, bytes: EnvironmentBytes): boolean;
  save(st: number, environment: EnvironmentBytes): boolean;
  restore(st: number, environment: EnvironmentBytes): boolean;
  fxsave(st: number, isWide: boolean): boolean;
  fxrstor(st: number, isWide: boolean): boolean;
}

const FX_EXTENT: Extent = { bytes: FX.bytes, ahead: 0 };
/** What begins with an environment. */
const extentOf = (environment: EnvironmentBytes, bytes: number = environment): Extent => ({
  bytes,
  ahead: environment === 14 ? 2 : 4,
});
const room = (bytes: number): DataView => new DataView(new ArrayBuffer(bytes));

export function x87State({ buffer, u8 }: Image, r: X87Registers, memory: Areas): X87State {
  const view = new DataView(buffer);

  return {
    storeEnvironment(st, bytes) {
      const to = room(bytes);
      putEnvironment(r, to, bytes);
      if (!memory.write(st, extentOf(bytes), to)) return false;
      r.controlWord |= FSW.exceptions;
      return true;
    },
    loadEnvironment(st, bytes) {
      const from = memory.read(st, extentOf(bytes));
      if (from !== undefined) takeEnvironment(r, from, bytes);
      return from !== undefined;
    },
    save(st, environment) {
      const to = room(stateBytes(environment));
      putState(r, to, environment);
      if (!memory.write(st, extentOf(environment, to.byteLength), to)) return false;
      r.initialise();
      return true;
    },
    restore(st, environment) {
      const from = memory.read(st, extentOf(environment, stateBytes(environment)));
      if (from !== undefined) takeState(r, from, environment);
      return from !== undefined;
    },
    fxsave(st, isWide) {
      const to = room(FX.written);
      putFx(r, to, isWide);
      to.setUint32(FX.mxcsr, view.getUint32(st + ST.mxcsr, true), true);
      to.setUint32(FX.mxcsrMask, MXCSR.all, true);
      new Uint8Array(to.buffer).set(u8.subarray(st + ST.xmm, st + ST.xmm + FX.xmmBytes), FX.xmm);
      return memory.write(st, FX_EXTENT, to);
    },
    fxrstor(st, isWide) {
      const from = memory.read(st, FX_EXTENT);
      if (from === undefined) return false;
      const mxcsr = from.getUint32(FX.mxcsr, true);
      if ((mxcsr & ~MXCSR.all) !== 0) {
        view.setInt32(st + ST.vector, VECTOR.GP, true);
        view.setInt32(st + ST.errorCode, 0, true);
        return false;
      }
      takeFx(r, from, isWide);
      view.setUint32(st + ST.mxcsr, mxcsr, true);
      u8.set(new Uint8Array(from.buffer, FX.xmm, FX.xmmBytes), st + ST.xmm);
      return true;
    },
  };
}
