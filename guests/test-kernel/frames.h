/* Applications that fault, with RBX: what comes of them is the same wherever ring 3 is. */
#pragma once

#define FAULTING(X) \
	X(app_divide, 0) X(app_read, 0x7ffff123) X(app_read, 1ul << 47) X(app_write, 0x7ffff124) X(app_write, (u64)applications) X(app_int80, 0) \
	X(app_int83, 0) X(app_cli, 0) X(app_in, 0) X(app_rdmsr, 0)
