"""What trains without an adapter of PEFT's: all of a model, some of it, or bottlenecks of ours.

To its callers a `PartialModel` is what a `peft.PeftModel` is: the same names, the same questions.
Importing this package alone imports no library.
"""
