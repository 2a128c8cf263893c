/** What the hypervisor says of itself (`xen_version`), as libxl asks it. */
import { offsetsOf, sizeOf } from '../shared/public/layout.js';
import * as V from '../shared/public/version.js';
import { __HYPERVISOR_xen_version } from '../shared/public/xen.js';
import { Argument } from './argument.js';
import type { Query } from './domctl.js';

const textAt = (data: Uint8Array, from: number, to: number): string =>
  new TextDecoder().decode(data.subarray(from, to)).split('\0')[0] ?? '';

const text = (cmd: number, bytes: number): Query<string> => ({
  call: new Argument(bytes).call(__HYPERVISOR_xen_version, [cmd]),
  read: (data) => textAt(data, 0, bytes),
});

export const extraVersion = (): Query<string> => text(V.XENVER_extraversion, V.XEN_EXTRAVERSION_LEN);
export const capabilities = (): Query<string> => text(V.XENVER_capabilities, V.XEN_CAPABILITIES_INFO_LEN);
export const changeset = (): Query<string> => text(V.XENVER_changeset, V.XEN_CHANGESET_INFO_LEN);

export interface CompileInfo {
  readonly compiler: string;
  readonly by: string;
  readonly domain: string;
  readonly date: string;
}

export function compileInfo(): Query<CompileInfo> {
  const at = offsetsOf(V.xen_compile_info, 64);
  const bytes = sizeOf(V.xen_compile_info, 64);
  return {
    call: new Argument(bytes).call(__HYPERVISOR_xen_version, [V.XENVER_compile_info]),
    read: (data) => ({
      compiler: textAt(data, at.compiler, at.compile_by),
      by: textAt(data, at.compile_by, at.compile_domain),
      domain: textAt(data, at.compile_domain, at.compile_date),
      date: textAt(data, at.compile_date, bytes),
    }),
  };
}

/** Lowest address of the hypervisor's hole. */
export const virtStart = (): Query<bigint> => ({
  call: new Argument(8).call(__HYPERVISOR_xen_version, [V.XENVER_platform_parameters]),
  read: (data) => new DataView(data.buffer, data.byteOffset).getBigUint64(0, true),
});

export const version = (): Query<{ readonly major: number; readonly minor: number }> => ({
  call: new Argument(8).call(__HYPERVISOR_xen_version, [V.XENVER_version]),
  read: (_data, rc) => ({ major: rc >>> 16, minor: rc & 0xffff }),
});
