// One stack per emulated GPU thread, and the switch between two of them.
// Assembly on x86-64, as a kernel makes millions of switches; ucontext elsewhere, or where
// MMEDGE_PORTABLE_FIBERS is defined.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if !defined(__x86_64__) || defined(MMEDGE_PORTABLE_FIBERS)
#define MMEDGE_USES_UCONTEXT
#include <ucontext.h>
#endif

namespace emulation {

constexpr size_t STACK_BYTES = 128 * 1024;

#if !defined(MMEDGE_USES_UCONTEXT)

extern "C" void mmedge_switch_stacks(void** from, void* to);

// Weak, as several translation units define it. Saves what System V calls callee-saved.
asm(R"(
.pushsection .text.mmedge_switch_stacks,"axG",@progbits,mmedge_switch_stacks,comdat
.weak mmedge_switch_stacks
.hidden mmedge_switch_stacks
.type mmedge_switch_stacks,@function
mmedge_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.popsection
)");

class Fiber {
 public:
  // A fiber that begins at `entry` when it is switched to; `entry` never returns.
  void prepare(void (*entry)()) {
    constexpr int SAVED_REGISTERS = 6;
    if (!stack_) stack_ = static_cast<char*>(malloc(STACK_BYTES));
    void** top = reinterpret_cast<void**>((uintptr_t)(stack_ + STACK_BYTES) & ~uintptr_t{15});
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < SAVED_REGISTERS; i++) *--top = nullptr;
    pointer_ = top;
  }
  static void change(Fiber& from, Fiber& to) { mmedge_switch_stacks(&from.pointer_, to.pointer_); }

 private:
  char* stack_ = nullptr;
  void* pointer_ = nullptr;
};

#else

class Fiber {
 public:
  void prepare(void (*entry)()) {
    if (!stack_) stack_ = static_cast<char*>(malloc(STACK_BYTES));
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = STACK_BYTES;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
  }
  static void change(Fiber& from, Fiber& to) { swapcontext(&from.context_, &to.context_); }

 private:
  char* stack_ = nullptr;
  ucontext_t context_;
};

#endif

}  // namespace emulation
