/** What strerror says of Xen's errors. */
import * as E from '../shared/public/errno.js';

const TEXTS: Readonly<Record<number, string>> = {
  [E.XEN_EPERM]: 'Operation not permitted',
  [E.XEN_ENOENT]: 'No such file or directory',
  [E.XEN_ESRCH]: 'No such process',
  [E.XEN_EIO]: 'Input/output error',
  [E.XEN_E2BIG]: 'Argument list too long',
  [E.XEN_EAGAIN]: 'Resource temporarily unavailable',
  [E.XEN_ENOMEM]: 'Cannot allocate memory',
  [E.XEN_EACCES]: 'Permission denied',
  [E.XEN_EFAULT]: 'Bad address',
  [E.XEN_EBUSY]: 'Device or resource busy',
  [E.XEN_EEXIST]: 'File exists',
  [E.XEN_EXDEV]: 'Invalid cross-device link',
  [E.XEN_ENODEV]: 'No such device',
  [E.XEN_EINVAL]: 'Invalid argument',
  [E.XEN_ENOSPC]: 'No space left on device',
  [E.XEN_EDOM]: 'Numerical argument out of domain',
  [E.XEN_ERANGE]: 'Numerical result out of range',
  [E.XEN_ENOSYS]: 'Function not implemented',
  [E.XEN_EADDRNOTAVAIL]: 'Cannot assign requested address',
  [E.XEN_EOPNOTSUPP]: 'Operation not supported',
};

/** @param rc a hypercall's negative answer */
export const errnoText = (rc: number): string => TEXTS[-rc] ?? `Unknown error ${-rc}`;
