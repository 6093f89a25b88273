"""Export to ONNX, checked against PyTorch in onnxruntime."""

from .checking import Comparison, compare
from .onnx_files import export_onnx
from .onnx_model import ONNXModel
from .onnx_ovsam import ONNXOVSAM
from .vocabulary import VocabularyArrays

__all__ = ['Comparison', 'ONNXModel', 'ONNXOVSAM', 'VocabularyArrays', 'compare', 'export_onnx']
