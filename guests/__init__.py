"""Real guests: kernels on QEMU that tell what they know, held against what pagebook reads of their memory."""
