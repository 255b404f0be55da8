"""The page in a browser: Chromium drives every view on a model, a saved core and a running guest, and nothing may fail.

Not part of the package or of its tests: it needs Playwright, Chromium and, for the guest, QEMU and a cross compiler.
"""
