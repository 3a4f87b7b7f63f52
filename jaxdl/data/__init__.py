"""Data in, dict batches out: sources, batching, splitting, scaling, augmentation, small sets."""

from jaxdl.data.augmentation import random_rotate, random_stretch, random_translate, random_zoom
from jaxdl.data.batching import Batches
from jaxdl.data.builder import import_raw
from jaxdl.data.categories import category_codes, oversample
from jaxdl.data.cleaning import clean_text, keyword_features
from jaxdl.data.colors import (
    color_histogram,
    color_jitter,
    grayscale_to_rgb,
    pack_rgb565,
    to_grayscale,
    unpack_rgb565,
)
from jaxdl.data.communities import graphs
from jaxdl.data.corruption import gaussian_blur, salt_and_pepper, sharpen, watermark
from jaxdl.data.credit import credit_applications
from jaxdl.data.cropping import pad_to_size, random_crop, random_erasing, random_flip, resize
from jaxdl.data.drawings import moving_shapes, shapes
from jaxdl.data.embedded import digits, iris
from jaxdl.data.faces import draw_face, drawn_faces
from jaxdl.data.grammar import scene_captions, toy_grammar
from jaxdl.data.imputation import impute
from jaxdl.data.intensities import binarize, complement, contrast_stretch, histogram_equalize, quantize_levels
from jaxdl.data.landscapes import draw_landscape, two_domains
from jaxdl.data.linear import correlated_gaussian, linear_regression_data
from jaxdl.data.logic import logic_gates, xor
from jaxdl.data.measurements import gaugify, synchronize
from jaxdl.data.monitoring import process_faults
from jaxdl.data.multiresolution import (
    inverse_wavelet_transform,
    laplacian_pyramid,
    laplacian_reconstruct,
    wavelet_transform,
)
from jaxdl.data.neighbourhoods import boundary, closing, dilate, erode, median_filter, opening
from jaxdl.data.points import blobs, classification_data, gaussian_ring, moons, ring_centers, spirals
from jaxdl.data.policies import augmented_copies, rand_augment
from jaxdl.data.preferences import movie_ratings, ratings
from jaxdl.data.prefetching import prefetch_to_device
from jaxdl.data.reading import as_arrays
from jaxdl.data.region_geometry import shape_features
from jaxdl.data.scaling import mean_normalize, min_max_scale, one_hot, scale_pixels, standardize
from jaxdl.data.segmentation import cluster_segment, edge_segment, otsu_threshold, threshold_segment
from jaxdl.data.sequence_tasks import adding_problem, copy_memory, parity, reverse_tokens, sine_waves
from jaxdl.data.sources import load
from jaxdl.data.spectra import mel_spectrogram, spectrogram
from jaxdl.data.splitting import train_test_split
from jaxdl.data.syntax_trees import syntax_tree_paraphrase
from jaxdl.data.text_augmentation import (
    random_deletion,
    random_insertion,
    sentence_shuffle,
    synonym_replacement,
    word_shuffle,
)
from jaxdl.data.token_arrays import pad_sequences, text_windows
from jaxdl.data.tokenizing import Tokenizer
from jaxdl.data.tones import tone_sequences
from jaxdl.data.waveforms import add_noise, change_pitch, change_speed, time_shift

__all__ = [
    "Batches",
    "Tokenizer",
    "add_noise",
    "adding_problem",
    "as_arrays",
    "augmented_copies",
    "binarize",
    "blobs",
    "boundary",
    "category_codes",
    "change_pitch",
    "change_speed",
    "classification_data",
    "clean_text",
    "closing",
    "cluster_segment",
    "color_histogram",
    "color_jitter",
    "complement",
    "contrast_stretch",
    "copy_memory",
    "correlated_gaussian",
    "credit_applications",
    "digits",
    "dilate",
    "draw_face",
    "draw_landscape",
    "drawn_faces",
    "edge_segment",
    "erode",
    "gaugify",
    "gaussian_blur",
    "gaussian_ring",
    "graphs",
    "grayscale_to_rgb",
    "histogram_equalize",
    "import_raw",
    "impute",
    "inverse_wavelet_transform",
    "iris",
    "keyword_features",
    "laplacian_pyramid",
    "laplacian_reconstruct",
    "linear_regression_data",
    "load",
    "logic_gates",
    "mean_normalize",
    "median_filter",
    "mel_spectrogram",
    "min_max_scale",
    "moons",
    "movie_ratings",
    "moving_shapes",
    "one_hot",
    "opening",
    "otsu_threshold",
    "oversample",
    "pack_rgb565",
    "pad_sequences",
    "pad_to_size",
    "parity",
    "prefetch_to_device",
    "process_faults",
    "quantize_levels",
    "rand_augment",
    "random_crop",
    "random_deletion",
    "random_erasing",
    "random_flip",
    "random_insertion",
    "random_rotate",
    "random_stretch",
    "random_translate",
    "random_zoom",
    "ratings",
    "resize",
    "reverse_tokens",
    "ring_centers",
    "salt_and_pepper",
    "scale_pixels",
    "scene_captions",
    "sentence_shuffle",
    "shape_features",
    "shapes",
    "sharpen",
    "sine_waves",
    "spectrogram",
    "spirals",
    "standardize",
    "synchronize",
    "synonym_replacement",
    "syntax_tree_paraphrase",
    "text_windows",
    "threshold_segment",
    "time_shift",
    "to_grayscale",
    "tone_sequences",
    "toy_grammar",
    "train_test_split",
    "two_domains",
    "unpack_rgb565",
    "watermark",
    "wavelet_transform",
    "word_shuffle",
    "xor",
]
