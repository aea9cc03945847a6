# The boot sector by which KVM has to prove itself: from real mode through paging to 64-bit mode, where
# it counts for a while and leaves QEMU through isa-debug-exit with code (0x10 << 1) | 1.
#
#   as --64 probe.s -o probe.o && ld -Ttext 0x7c00 --oformat binary -o probe.bin probe.o
.code16
.globl _start
_start:
 cli
 xorw %ax,%ax
 movw %ax,%ds
 movw %ax,%es
 movw %ax,%ss
 movw $0x7c00,%sp
 movw $0x1000,%di
 movw $0x1800,%cx
 cld
 rep stosw
 movl $0x2003,0x1000
 movl $0x3003,0x2000
 movl $0x83,0x3000
 movl %cr4,%eax
 orl $0x20,%eax
 movl %eax,%cr4
 movl $0x1000,%eax
 movl %eax,%cr3
 movl $0xC0000080,%ecx
 rdmsr
 orl $0x100,%eax
 wrmsr
 lgdtl gdtr
 movl %cr0,%eax
 orl $0x80000001,%eax
 movl %eax,%cr0
 ljmpl $8,$long64
.code64
long64:
 movl $20000000,%ecx
1: decl %ecx
 jnz 1b
 movb $0x10,%al
 outb %al,$0xf4
2: hlt
 jmp 2b
.balign 8
gdt: .quad 0, 0x00209a0000000000
gdtr: .word 15
 .long gdt
