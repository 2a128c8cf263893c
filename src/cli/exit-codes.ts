/** What the shell is told. */
export const EXIT_OK = 0;
/** An expectation failed. */
export const EXIT_FAILED = 1;
/** The command line or a configuration is wrong. */
export const EXIT_USAGE = 2;
/** The simulator itself failed: a worker threw, exited or stalled. */
export const EXIT_FAULT = 3;
/** 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130;
