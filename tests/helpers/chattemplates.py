"""Chat templates of thinking models, shortened to dialogues of texts and images."""

PARTS = (
    "{%- if m.content is string %}{{- m.content }}{%- else %}{%- for p in m.content %}"
    "{%- if p.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{%- else %}{{- p.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
)

THINKING = (
    "{%- macro render(m) %}" + PARTS + "{%- endmacro %}"
    "{%- for m in messages %}{%- set content = render(m) %}"
    "{%- if m.role == 'assistant' and '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)
"""As of Qwen3-VL-Thinking: opens the thinking of a reply, and removes it from earlier replies."""


def with_opening(opening: str, after_user: str = "") -> str:
    """A template that puts a text before a reply, and one after each user turn."""
    return (
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}" + PARTS + "{{- '<|im_end|>\\n' }}"
        f"{{%- if m.role == 'user' %}}{{{{- {after_user!r} }}}}{{%- endif %}}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
        f"{{{{- {opening!r} }}}}{{%- endif %}}"
    )
