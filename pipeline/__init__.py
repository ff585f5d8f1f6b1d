"""Fine-tune a model in six stages: model, data, adapter, finetune, export, visualize.

Read `pipeline.run` first; it is the whole path on one page.
"""
