"""Policies: a Qwen-VL in this process, a served model, a scripted one."""
