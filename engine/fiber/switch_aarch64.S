/*
 * switch_aarch64.S: the switch for AAPCS64.
 *
 * A suspended flow is a stack pointer to 176 bytes: x19 to x28, the frame pointer and the return
 * address, d8 to d15 (the callee-saved halves of the vector registers), FPCR. FPSR is not kept:
 * the ABI calls it global. `ret` is used and not `br`, so that the predictor's stack of returns
 * stays level, and so that branch target identification, which watches only br and blr, needs no
 * landing pad behind the call.
 */
	.text

	.macro	restore_and_go
	ldr	x10, [x1]
	mov	sp, x10
	ldr	x11, [sp, #160]
	/* Writing FPCR is slow and its value nearly always the same. */
	cmp	x9, x11
	b.eq	1f
	msr	fpcr, x11
1:	ldp	x19, x20, [sp]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	mov	x0, x2
	add	sp, sp, #176
	.endm

/* void *wf_context_swap(struct wf_context *from, const struct wf_context *to, void *arg) */
	.globl	wf_context_swap
	.hidden	wf_context_swap
	.type	wf_context_swap, %function
	.p2align 4
wf_context_swap:
	.cfi_startproc
	hint	#34			/* bti c */
	sub	sp, sp, #176
	.cfi_adjust_cfa_offset 176
	stp	x19, x20, [sp]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	.cfi_rel_offset x29, 80
	.cfi_rel_offset x30, 88
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mrs	x9, fpcr
	str	x9, [sp, #160]
	mov	x10, sp
	str	x10, [x0]
	restore_and_go
	.cfi_restore x29
	.cfi_restore x30
	.cfi_adjust_cfa_offset -176
	ret
	.cfi_endproc
	.size	wf_context_swap, . - wf_context_swap

/*
 * void *wf_context_make(char *top, wf_context_entry_fn *entry, struct wf_fiber *fiber,
 *                       wf_fiber_fn *fn)
 *
 * Builds, below the 16-byte aligned `top`, a flow that will call entry(fiber, arg, fn): x19 the
 * fiber, x20 the entry, x21 fn. FPCR is that of a program's start.
 */
	.globl	wf_context_make
	.hidden	wf_context_make
	.type	wf_context_make, %function
	.p2align 4
wf_context_make:
	.cfi_startproc
	hint	#34			/* bti c */
	adrp	x9, context_begin
	add	x9, x9, :lo12:context_begin
	sub	x10, x0, #192
	stp	x2, x1, [x10]
	stp	x3, xzr, [x10, #16]
	stp	xzr, x9, [x10, #80]
	str	xzr, [x10, #160]
	stp	xzr, xzr, [x10, #176]
	mov	x0, x10
	ret
	.cfi_endproc
	.size	wf_context_make, . - wf_context_make

/* Nobody called this, which is what the undefined return address says to unwinders. */
	.type	context_begin, %function
	.p2align 4
context_begin:
	.cfi_startproc
	.cfi_undefined x30
	hint	#34			/* bti c */
	mov	x1, x0
	mov	x0, x19
	mov	x2, x21
	blr	x20
	brk	#0
	.cfi_endproc
	.size	context_begin, . - context_begin

	.section .note.GNU-stack, "", %progbits

/* GNU property: branch target identification, not return address signing. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000000, 4, 1, 0
