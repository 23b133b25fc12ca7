"""What upstream's image processors, tokenizers and processors are when a file leaves it out.

Facts of transformers 5.23, which old checkpoints' files rely on; tests compare them with the
classes. An image processor's name is upstream's without "ImageProcessor".
"""

from __future__ import annotations

from typing import Any

HALF = [0.5, 0.5, 0.5]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BILINEAR, BICUBIC, LANCZOS = 2, 3, 1

ALL: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "default_to_square": True,
}
CLIP: dict[str, Any] = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "resample": BICUBIC}
STANDARD: dict[str, Any] = {"image_mean": HALF, "image_std": HALF}
IMAGENET: dict[str, Any] = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}


def _square(edge: int) -> dict[str, int]:
    return {"height": edge, "width": edge}


def _cropped(edge: int, crop: int) -> dict[str, Any]:
    """The shortest edge, then a square from the middle."""
    return {
        "size": {"shortest_edge": edge},
        "crop_size": _square(crop),
        "do_center_crop": True,
        "default_to_square": False,
    }


CLIP_LIKE = {**CLIP, **_cropped(224, 224), "do_convert_rgb": True}
DETR_LIKE = {
    **IMAGENET,
    "resample": BILINEAR,
    "size": {"shortest_edge": 800, "longest_edge": 1333},
    "default_to_square": False,
    "do_pad": True,
}
TILED = {
    **STANDARD,
    "resample": LANCZOS,
    "size": {"longest_edge": 4 * 364},
    "max_image_size": {"longest_edge": 364},
    "do_convert_rgb": True,
    "do_image_splitting": True,
    "do_pad": True,
}
MOBILE = {**STANDARD, "resample": BILINEAR, **_cropped(256, 224)}
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]

IMAGE_PROCESSORS: dict[str, dict[str, Any]] = {
    "Beit": {**STANDARD, "resample": BICUBIC, "size": _square(224), "crop_size": _square(224)},
    "Bit": CLIP_LIKE,
    "BridgeTower": {
        **CLIP,
        "size": {"shortest_edge": 288},
        "crop_size": {"shortest_edge": 288},
        "size_divisor": 32,
        "default_to_square": False,
        "do_center_crop": True,
        "do_pad": True,
    },
    "Blip": {**CLIP, "size": _square(384), "do_convert_rgb": True},
    "CLIP": CLIP_LIKE,
    "ChineseCLIP": CLIP_LIKE,
    "ConditionalDetr": DETR_LIKE,
    "DeformableDetr": DETR_LIKE,
    "DeiT": {
        **STANDARD,
        "resample": BICUBIC,
        "size": _square(256),
        "crop_size": _square(224),
        "do_center_crop": True,
    },
    "Detr": DETR_LIKE,
    "Donut": {
        **STANDARD,
        "resample": BILINEAR,
        "size": {"height": 2560, "width": 1920},
        "do_pad": True,
        "do_thumbnail": True,
        "do_align_long_axis": False,
    },
    "Flava": {**CLIP, "size": _square(224), "crop_size": _square(224), "do_center_crop": True},
    "Gemma3": {**STANDARD, "resample": BILINEAR, "size": _square(224), "do_convert_rgb": True},
    "GotOcr2": {
        **CLIP,
        "size": _square(384),
        "do_convert_rgb": True,
        "min_patches": 1,
        "max_patches": 12,
    },
    "GroundingDino": DETR_LIKE,
    "Idefics2": {
        **STANDARD,
        "resample": BILINEAR,
        "size": {"shortest_edge": 378, "longest_edge": 980},
        "default_to_square": False,
        "do_convert_rgb": True,
        "do_pad": True,
        "do_image_splitting": False,
    },
    "Idefics3": TILED,
    "LayoutLMv3": {**STANDARD, "resample": BILINEAR, "size": _square(224)},
    "Llava": {**CLIP_LIKE, "do_pad": False},
    "LlavaNext": {**CLIP_LIKE, "do_pad": True, "image_grid_pinpoints": PINPOINTS},
    "MobileNetV1": MOBILE,
    "MobileNetV2": MOBILE,
    "OwlViT": {**CLIP, "size": _square(768), "crop_size": _square(768), "do_convert_rgb": True},
    "Pixtral": {
        **CLIP,
        "size": {"longest_edge": 1024},
        "patch_size": _square(16),
        "do_pad": True,
        "do_convert_rgb": True,
    },
    "Pvt": {**IMAGENET, "resample": BICUBIC, "size": _square(224)},
    "Qwen2VL": {
        **CLIP,
        "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
        "default_to_square": False,
        "do_convert_rgb": True,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
    },
    "Segformer": {**IMAGENET, "resample": BILINEAR, "size": _square(512)},
    "Siglip": {
        **STANDARD,
        "resample": BICUBIC,
        "size": _square(224),
        "default_to_square": False,
        "do_convert_rgb": True,
    },
    "Siglip2": {**STANDARD, "resample": BILINEAR, "patch_size": 16, "max_num_patches": 256},
    "SmolVLM": TILED,
    "ViT": {**STANDARD, "resample": BILINEAR, "size": _square(224)},
    "Vilt": {
        **STANDARD,
        "resample": BICUBIC,
        "size": {"shortest_edge": 384},
        "size_divisor": 32,
        "default_to_square": False,
        "do_pad": True,
    },
}

# The image processor and the feature extractor of models whose old files do not name theirs
# (`auto/image_processing_auto.py`, `auto/feature_extraction_auto.py`).
IMAGES_OF_MODELS: dict[str, tuple[str, ...]] = {
    "Beit": ("beit", "data2vec-vision"),
    "Bit": ("bit", "dinov2"),
    "Blip": ("blip", "blip-2"),
    "CLIP": ("clip", "altclip", "git", "groupvit"),
    "DeiT": ("deit",),
    "Detr": ("detr",),
    "Donut": ("donut-swin",),
    "Flava": ("flava",),
    "LayoutLMv3": ("layoutlmv3",),
    "OwlViT": ("owlvit",),
    "Segformer": ("segformer",),
    "ViT": ("vit", "swin", "vit_mae", "clipseg"),
    "Vilt": ("vilt",),
}
SOUNDS_OF_MODELS: dict[str, tuple[str, ...]] = {
    "ASTFeatureExtractor": ("audio-spectrogram-transformer",),
    "Speech2TextFeatureExtractor": ("speech_to_text",),
    "Wav2Vec2FeatureExtractor": (
        "wav2vec2",
        "data2vec-audio",
        "hubert",
        "sew",
        "sew-d",
        "unispeech",
        "unispeech-sat",
        "wav2vec2-conformer",
        "wavlm",
    ),
    "WhisperFeatureExtractor": ("whisper",),
}

# Tokenizers that give token_type_ids, in upstream's order of outputs.
TOKEN_TYPES: dict[str, tuple[str, ...]] = {
    "BertTokenizer": ("input_ids", "token_type_ids", "attention_mask"),
    "MarkupLMTokenizer": ("input_ids", "token_type_ids", "attention_mask"),
    "CanineTokenizer": ("input_ids", "attention_mask", "token_type_ids"),
    "DebertaTokenizer": ("input_ids", "attention_mask", "token_type_ids"),
    "DebertaV2Tokenizer": ("input_ids", "attention_mask", "token_type_ids"),
    "LayoutLMv2Tokenizer": ("input_ids", "attention_mask", "token_type_ids"),
    "TapasTokenizer": ("input_ids", "attention_mask", "token_type_ids"),
}
PADDED_LEFT = frozenset(
    {
        "CodeLlamaTokenizer",
        "CohereTokenizer",
        "GemmaTokenizer",
        "LlamaTokenizer",
        "Siglip2Tokenizer",
        "XLNetTokenizer",
    }
)

# The processor of a model whose files do not name one (`auto/processing_auto.py`).
PROCESSOR_OF_MODEL = {
    "blip": "BlipProcessor",
    "bridgetower": "BridgeTowerProcessor",
    "blip-2": "Blip2Processor",
    "chinese_clip": "ChineseCLIPProcessor",
    "clap": "ClapProcessor",
    "clip": "CLIPProcessor",
    "flava": "FlavaProcessor",
    "clipseg": "CLIPSegProcessor",
    "florence2": "Florence2Processor",
    "gemma3": "Gemma3Processor",
    "git": "GitProcessor",
    "grounding-dino": "GroundingDinoProcessor",
    "hubert": "Wav2Vec2Processor",
    "idefics2": "Idefics2Processor",
    "idefics3": "Idefics3Processor",
    "internvl": "InternVLProcessor",
    "layoutlmv3": "LayoutLMv3Processor",
    "llava": "LlavaProcessor",
    "llava_next": "LlavaNextProcessor",
    "metaclip_2": "CLIPProcessor",
    "mm-grounding-dino": "GroundingDinoProcessor",
    "owlvit": "OwlViTProcessor",
    "paligemma": "PaliGemmaProcessor",
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "sew": "Wav2Vec2Processor",
    "siglip": "SiglipProcessor",
    "siglip2": "Siglip2Processor",
    "smolvlm": "SmolVLMProcessor",
    "speech_to_text": "Speech2TextProcessor",
    "trocr": "TrOCRProcessor",
    "unispeech": "Wav2Vec2Processor",
    "vilt": "ViltProcessor",
    "vipllava": "LlavaProcessor",
    "vision-text-dual-encoder": "VisionTextDualEncoderProcessor",
    "wav2vec2": "Wav2Vec2Processor",
    "wav2vec2-bert": "Wav2Vec2BertProcessor",
    "wavlm": "Wav2Vec2Processor",
    "whisper": "WhisperProcessor",
}

# What Florence-2's task names are short for (`processing_florence2.py`).
FLORENCE_TASKS = {
    "<OCR>": "What is the text in the image?",
    "<OCR_WITH_REGION>": "What is the text in the image, with regions?",
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    "<OD>": "Locate the objects with category name in the image.",
    "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
    "<REGION_PROPOSAL>": "Locate the region proposals in the image.",
    "<CAPTION_TO_PHRASE_GROUNDING>": "Locate the phrases in the caption: {input}",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "Locate {input} in the image with mask",
    "<REGION_TO_SEGMENTATION>": "What is the polygon mask of region {input}",
    "<OPEN_VOCABULARY_DETECTION>": "Locate {input} in the image.",
    "<REGION_TO_CATEGORY>": "What is the region {input}?",
    "<REGION_TO_DESCRIPTION>": "What does the region {input} describe?",
    "<REGION_TO_OCR>": "What text is in the region {input}?",
}
