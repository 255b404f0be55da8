"""Real guests: kernels booted on QEMU, and what they say of themselves against what pagebook finds in their RAM."""
