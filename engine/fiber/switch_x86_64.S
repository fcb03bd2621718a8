/*
 * switch_x86_64.S: how a flow of control begins. The switch itself is in switch_x86_64.h, which
 * also describes the four words that a suspended flow consists of.
 */
	.text

/*
 * void *wf_context_make(char *top, wf_context_entry_fn *entry, struct wf_fiber *fiber,
 *                       wf_fiber_fn *fn)
 *
 * Builds, below the 16-byte aligned `top`, a flow that will call entry(fiber, arg, fn), and
 * returns its stack pointer. The control words are those of a program's start, not the maker's:
 * what a body did to its rounding mode must not leak into the next body.
 *
 *   -16  0, 0        the end of the chain for who walks frame pointers
 *   -24  fn
 *   -32  entry
 *   -40  context_begin
 *   -48  rbp: 0
 *   -56  rbx: fiber
 *   -64  MXCSR 0x1f80, x87 0x037f
 */
	.globl	wf_context_make
	.hidden	wf_context_make
	.type	wf_context_make, @function
	.p2align 4
wf_context_make:
	.cfi_startproc
	endbr64
	leaq	-64(%rdi), %rax
	leaq	context_begin(%rip), %r8
	movabsq	$0x0000037f00001f80, %r9
	movq	%r9, (%rax)
	movq	%rdx, 8(%rax)
	movq	$0, 16(%rax)
	movq	%r8, 24(%rax)
	movq	%rsi, 32(%rax)
	movq	%rcx, 40(%rax)
	movq	$0, 48(%rax)
	movq	$0, 56(%rax)
	ret
	.cfi_endproc
	.size	wf_context_make, . - wf_context_make

/*
 * The first switch to a made flow jumps here: rsp is top - 32, rbx the fiber, rdx what the switch
 * passed. Nobody called this, which is what the undefined return address says to unwinders.
 */
	.type	context_begin, @function
	.p2align 4
context_begin:
	.cfi_startproc
	.cfi_undefined rip
	.cfi_def_cfa rsp, 32
	endbr64
	popq	%rax
	.cfi_adjust_cfa_offset -8
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	movq	%rbx, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	call	*%rax
	ud2
	.cfi_endproc
	.size	context_begin, . - context_begin

	.section .note.GNU-stack, "", @progbits

/* GNU property: indirect branch tracking, and no more (no shadow stack). */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000002, 4, 1, 0
