"""A processor of Qwen2.5-VL for TRL that works without torchvision."""

from typing import Any

from transformers.models.qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.processing_utils import ProcessorMixin

from thinkseg.models.policies.qwen.chat_template import IMAGE_PAD
from thinkseg.models.policies.qwen.encoder import Encoder


class Processor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without videos, which need torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        self.image_token, self.video_token = IMAGE_PAD, "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def processor_of(encoder: Encoder) -> Processor:
    return Processor(encoder.image_processor, encoder.tokenizer, chat_template=encoder.tokenizer.chat_template)
