"""Lets `python -m pipeline` run the command line."""

from importlib import import_module

from pipeline.consent import forget_current_folder

if __name__ == "__main__":
    forget_current_folder()  # before anything else is imported: a file there may be named like it
    import_module("pipeline.cli").main()
