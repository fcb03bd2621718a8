/*
 * switch_x86_64.h: the switch for the System V ABI of x86-64, inline in its caller.
 *
 * A suspended flow is a stack pointer to four words (switch_x86_64.S builds the same for a flow
 * that has not begun):
 *
 *   sp ->  MXCSR (4 bytes), x87 control word (2), 2 unused
 *          rbx
 *          rbp
 *          where to go on
 *
 * Every other register is given up here, in the clobber list, so that the compiler saves what it
 * needs and nothing more. rbp and rbx are saved by hand because compilers reserve them: the frame
 * pointer, and clang's base pointer in a function with over-aligned locals.
 *
 * Why inline and not a function: a function must go on by `ret`, which predicts the return into
 * the flow that called and is wrong whenever the two flows stopped in different places, or by an
 * indirect jump, which leaves the predictor's stack of returns one entry too deep, so that every
 * later return of the resumed flow is mispredicted. A jump that replaces no call does neither.
 * The figures are in the README.
 *
 * The control words are reloaded unconditionally: comparing them first was slower, because the
 * price is in reading MXCSR. The jump lands on endbr64, so that indirect branch tracking holds.
 * Shadow stacks are not followed, and switch_x86_64.S does not claim to.
 */
#ifndef WF_SWITCH_X86_64_H
#define WF_SWITCH_X86_64_H

#ifdef __APX_F__
#error "the registers r16 to r31 are not in the clobber list"
#endif

/* clang-format off */
#ifdef __AVX512F__
#define WF_SWITCH_CLOBBERS_512 , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", \
	"xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", \
	"k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define WF_SWITCH_CLOBBERS_512
#endif

WF_INLINE void *wf_context_swap(struct wf_context *from, const struct wf_context *to, void *arg)
{
	__asm__ volatile(
		/* What the compiler keeps below rsp without saying so (the red zone) stays ours. */
		"leaq	-128(%%rsp), %%rsp\n\t"
		"leaq	1f(%%rip), %%rax\n\t"
		"pushq	%%rax\n\t"
		"pushq	%%rbp\n\t"
		"pushq	%%rbx\n\t"
		"subq	$8, %%rsp\n\t"
		"stmxcsr	(%%rsp)\n\t"
		"fnstcw	4(%%rsp)\n\t"
		"movq	%%rsp, (%%rdi)\n\t"
		"movq	(%%rsi), %%rsp\n\t"
		"ldmxcsr	(%%rsp)\n\t"
		"fldcw	4(%%rsp)\n\t"
		"addq	$8, %%rsp\n\t"
		"popq	%%rbx\n\t"
		"popq	%%rbp\n\t"
		"popq	%%rcx\n\t"
		"jmp	*%%rcx\n"
		"1:\n\t"
		"endbr64\n\t"
		"leaq	128(%%rsp), %%rsp\n"
		: "+D"(from), "+S"(to), "+d"(arg)
		:
		: "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
		  "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",
		  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
		  "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" WF_SWITCH_CLOBBERS_512,
		  "memory", "cc");
	return arg;
}
/* clang-format on */

#endif /* WF_SWITCH_X86_64_H */
