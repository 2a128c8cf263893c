/*
 * Runs cases of x86-64 code on the processor it is running on, and says what became of them.
 *
 * Input: records of struct input, output: as many of struct output, in the same order, each with only those blocks of data
 * that changed; both little endian. Ends when the input does.
 *
 * A case is entered by returning from a signal handler whose context was replaced, and is left by the next signal, which
 * comes on a stack of its own: so rsp may be anything, and nothing but a stray store of the case can disturb this program.
 * fs stays the C library's; a case must not use it, and must not make system calls. ds, es and gs are null when it begins.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE_BASE 0x10000000ul
#define DATA_BASE 0x20000000ul
#define PAGE 4096ul
#define DATA_BYTES (2 * PAGE)
#define CODE_LIMIT 512
#define BLOCK 64ul
#define BLOCKS (DATA_BYTES / BLOCK)
#define BATCH 64
#define INT3 0xcc

/* CF, PF, AF, ZF, SF, DF and OF: what a case may say of rflags, and what is reported. */
#define FLAGS 0xcd5ul
/* Bit 1 and IF, as they are in user mode. */
#define FLAGS_SET 0x202ul
#define TF 0x100ul

/* As much of the FXSAVE image as registers take; what follows is the kernel's. */
#define FX_REGISTERS 416

#define TRAP_DB 1
#define TRAP_BP 3

/* A case that is still running after this many ticks has no end. */
#define TICK_US 20000
#define TICKS 3

enum ending { REACHED_END = 0, EXCEPTION = 1, TIMEOUT = 2 };

struct input {
  uint32_t code_bytes, is_stepped; /* begins with TF set */
  uint64_t rip, rflags, gpr[16];
  uint8_t fx[512];
  uint8_t code[CODE_LIMIT];
  uint8_t data[DATA_BYTES];
};

struct output {
  uint32_t ending, vector;
  uint64_t error_code, address;
  uint64_t rip, rflags, gpr[16];
  uint8_t fx[512];
  uint64_t steps, trace;         /* how many instructions trapped, and a digest of rip and gpr behind each */
  uint64_t changed[BLOCKS / 64]; /* a bit for each block of data that isn't what it was; these blocks follow */
  uint8_t blocks[BLOCKS][BLOCK];
};

/* In the order of their numbers in the machine's encoding. */
static const int gregs[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static struct input inputs[BATCH];
static _Alignas(8) uint8_t outputs[BATCH * sizeof(struct output)];
static size_t output_bytes;
static size_t count, at; /* cases in the batch, and which of them runs */
static int running;
static int ticks; /* since the running case began */
static uint64_t steps, trace;

static uint8_t *code; /* the code page, where it can be written */

static void fail(const char *what) {
  fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
  _exit(1);
}

/* Whole records; the number of bytes, which is less than asked for at the end of the input only. */
static size_t read_all(void *to, size_t bytes) {
  size_t got = 0;
  while (got < bytes) {
    ssize_t n = read(0, (char *)to + got, bytes - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read");
    if (n == 0) break;
    got += (size_t)n;
  }
  return got;
}

static void write_all(const void *from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = write(1, (const char *)from + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("write");
    done += (size_t)n;
  }
}

static void next_batch(void) {
  write_all(outputs, output_bytes);
  output_bytes = 0;
  size_t bytes = read_all(inputs, sizeof inputs);
  if (bytes % sizeof inputs[0] != 0) {
    errno = EPROTO;
    fail("part of a case");
  }
  count = bytes / sizeof inputs[0];
  at = 0;
  if (count == 0) _exit(0);
}

static void load(ucontext_t *context) {
  static size_t code_from, code_bytes; /* what of the page is not INT3 */
  const struct input *in = &inputs[at];
  greg_t *g = context->uc_mcontext.gregs;
  uint8_t *fx = (uint8_t *)context->uc_mcontext.fpregs;

  size_t from = in->rip - CODE_BASE;
  if (from >= PAGE || in->code_bytes > CODE_LIMIT || from + in->code_bytes > PAGE) {
    errno = EINVAL;
    fail("code lies outside its page");
  }
  memset(code + code_from, INT3, code_bytes);
  memcpy(code + from, in->code, in->code_bytes);
  code_from = from;
  code_bytes = in->code_bytes;
  memcpy((void *)DATA_BASE, in->data, DATA_BYTES);

  for (int i = 0; i < 16; i++) g[gregs[i]] = (greg_t)in->gpr[i];
  g[REG_RIP] = (greg_t)in->rip;
  g[REG_EFL] = (greg_t)((in->rflags & FLAGS) | FLAGS_SET | (in->is_stepped ? TF : 0));
  memcpy(fx, in->fx, FX_REGISTERS);
  /* XSTATE_BV: x87 and SSE are given, the upper halves of ymm are zero. */
  uint64_t *present = (uint64_t *)(fx + 512);
  *present = (*present | 3) & ~4ul;

  /* What returns from a signal leaves them. */
  __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%gs" : : "r"(0));

  ticks = 0;
  steps = trace = 0;
  running = 1;
}

static void store(const ucontext_t *context, enum ending ending) {
  const struct input *in = &inputs[at];
  struct output *out = (struct output *)(outputs + output_bytes);
  const greg_t *g = context->uc_mcontext.gregs;

  out->ending = ending;
  out->vector = (uint32_t)g[REG_TRAPNO];
  out->error_code = (uint64_t)g[REG_ERR];
  out->address = (uint64_t)g[REG_CR2];
  out->rip = (uint64_t)g[REG_RIP];
  uint64_t end = in->rip + in->code_bytes;
  if (ending == EXCEPTION && out->vector == TRAP_BP && out->rip == end + 1) {
    out->ending = REACHED_END;
    out->rip = end;
  }
  out->steps = steps;
  out->trace = trace;
  out->rflags = ((uint64_t)g[REG_EFL] & FLAGS) | FLAGS_SET;
  for (int i = 0; i < 16; i++) out->gpr[i] = (uint64_t)g[gregs[i]];
  memcpy(out->fx, context->uc_mcontext.fpregs, FX_REGISTERS);

  size_t blocks = 0;
  memset(out->changed, 0, sizeof out->changed);
  for (size_t i = 0; i < BLOCKS; i++) {
    const uint8_t *block = (const uint8_t *)DATA_BASE + i * BLOCK;
    if (memcmp(block, in->data + i * BLOCK, BLOCK) == 0) continue;
    out->changed[i / 64] |= 1ul << i % 64;
    memcpy(out->blocks[blocks++], block, BLOCK);
  }
  output_bytes += offsetof(struct output, blocks) + blocks * BLOCK;
}

static void next(ucontext_t *context) {
  running = 0;
  if (++at >= count) next_batch();
  load(context);
}

/* FNV-1a, of words. */
static void digest(uint64_t x) { trace = (trace ^ x) * 0x100000001b3ul; }

static void step(const ucontext_t *context) {
  const greg_t *g = context->uc_mcontext.gregs;
  steps++;
  digest((uint64_t)g[REG_RIP]);
  for (int i = 0; i < 16; i++) digest((uint64_t)g[gregs[i]]);
}

static void on_exception(int signal, siginfo_t *info, void *context) {
  (void)signal;
  if (running && inputs[at].is_stepped && ((ucontext_t *)context)->uc_mcontext.gregs[REG_TRAPNO] == TRAP_DB) {
    step(context);
    return;
  }
  if (info->si_code <= 0 && running) fail("a signal from outside");
  if (running) store(context, EXCEPTION);
  next(context);
}

static void on_tick(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  if (!running || ++ticks < TICKS) return;
  store(context, TIMEOUT);
  next(context);
}

static void *map(uint64_t at, size_t bytes, int protection, int flags, int file) {
  void *p = mmap((void *)at, bytes, protection, flags | (at ? MAP_FIXED_NOREPLACE : 0), file, 0);
  if (p == MAP_FAILED || (at && p != (void *)at)) fail("mmap");
  return p;
}

static void on(int signal, void (*handler)(int, siginfo_t *, void *)) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
  sigfillset(&action.sa_mask);
  if (sigaction(signal, &action, NULL) != 0) fail("sigaction");
}

int main(void) {
  /* The page is mapped twice, so that it need not be made writable for every case. */
  int file = memfd_create("code", 0);
  if (file < 0 || ftruncate(file, PAGE) != 0) fail("memfd_create");
  code = map(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file);
  memset(code, INT3, PAGE);
  map(CODE_BASE, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file);
  map(DATA_BASE, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

  const size_t stack_bytes = 256 * 1024;
  stack_t stack = {.ss_sp = map(0, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1),
                   .ss_size = stack_bytes};
  if (sigaltstack(&stack, NULL) != 0) fail("sigaltstack");
  const int exceptions[] = {SIGTRAP, SIGILL, SIGSEGV, SIGFPE, SIGBUS};
  for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) on(exceptions[i], on_exception);
  on(SIGVTALRM, on_tick);

  struct itimerval tick = {{0, TICK_US}, {0, TICK_US}};
  if (setitimer(ITIMER_VIRTUAL, &tick, NULL) != 0) fail("setitimer");
  __asm__ volatile("ud2"); /* on_exception loads the first case, and the last one exits */
  return 1;
}
