"""xv6's memory manager, function by function, in Python.

One module per C file of the kernel, with the C names and the C order of arguments; in front of them stands ``k``, the
`Kernel` whose globals the C code would use.  A pointer is a physical address, a null pointer 0.  What is modelled is
the memory manager: there is no processor, so nothing runs between the calls, and no disk behind the files.
"""
