"""Which classes and functions of Keras a `.keras` file may name.

Left out is what runs code of the file's author (`Lambda`, wrappers of other frameworks), what
reads files or URLs (vocabularies of `StringLookup` and its like, `TFSMLayer`), what torch cannot
run or ONNX cannot hold (`Hashing`, `Discretization`, spectrograms), and what is not weights in
float32 (quantised policies).
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LAYERS = _words(
    """
    InputLayer Dense EinsumDense Embedding Activation Identity Masking
    Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose
    DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D
    MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    Flatten Reshape Permute RepeatVector
    Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
    Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout
    GaussianDropout GaussianNoise ActivityRegularization
    BatchNormalization LayerNormalization GroupNormalization RMSNormalization UnitNormalization
    ReLU LeakyReLU PReLU ELU Softmax
    Add Subtract Multiply Average Maximum Minimum Concatenate Dot
    SimpleRNN LSTM GRU RNN SimpleRNNCell LSTMCell GRUCell StackedRNNCells
    Bidirectional TimeDistributed ConvLSTM1D ConvLSTM2D
    Attention AdditiveAttention MultiHeadAttention GroupQueryAttention
    Rescaling Normalization
    RandomFlip RandomRotation RandomTranslation RandomZoom RandomContrast RandomBrightness
    """
)

MODELS = frozenset({"Sequential", "Functional"})

OPERATIONS = {
    "numpy": _words(
        """
        Add Subtract Multiply Divide TrueDivide FloorDivide Negative Absolute Abs Power Square Sqrt
        Exp Log Log1p Expm1 Sin Cos Tanh Sign Maximum Minimum Clip Mean Sum Max Min Prod Var Std
        Amax Amin Argmax Argmin Matmul Dot Einsum Tensordot Concatenate Stack Split Reshape
        Transpose Swapaxes Moveaxis Squeeze ExpandDims Flip Tile Repeat Pad Take GetItem Where
        Reciprocal Equal NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr
        LogicalNot Cumsum Ravel BroadcastTo
        """
    ),
    "nn": _words(
        """
        Relu Relu6 Sigmoid Softplus Softsign Silu LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu
        Gelu Softmax LogSoftmax MaxPool AveragePool OneHot
        """
    ),
    "core": frozenset({"Cast"}),
    "math": frozenset({"Logsumexp", "Rsqrt", "Erf"}),
}

INITIALIZERS = _words(
    """
    Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling
    GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform
    Orthogonal OrthogonalInitializer Identity IdentityInitializer
    """
)
REGULARIZERS = frozenset({"L1", "L2", "L1L2", "OrthogonalRegularizer"})
CONSTRAINTS = frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"})
ACTIVATIONS = _words(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign squareplus swish tanh tanh_shrink threshold
    """
)

OPTIMIZERS = _words(
    """
    Adadelta Adafactor Adagrad Adam Adamax AdamW Ftrl Lamb Lion Nadam RMSprop SGD
    """
)
SCHEDULES = _words(
    """
    CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
    PolynomialDecay
    """
)
LOSSES = _words(
    """
    BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy
    CategoricalFocalCrossentropy SparseCategoricalCrossentropy CategoricalHinge Hinge SquaredHinge
    CosineSimilarity Dice Tversky Huber KLDivergence LogCosh MeanAbsoluteError
    MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
    """
)
METRICS = LOSSES | _words(
    """
    Accuracy BinaryAccuracy CategoricalAccuracy SparseCategoricalAccuracy TopKCategoricalAccuracy
    SparseTopKCategoricalAccuracy AUC Precision Recall F1Score FBetaScore
    TruePositives TrueNegatives FalsePositives FalseNegatives
    PrecisionAtRecall RecallAtPrecision SensitivityAtSpecificity SpecificityAtSensitivity
    MeanIoU IoU BinaryIoU OneHotIoU OneHotMeanIoU
    Mean Sum RootMeanSquaredError LogCoshError R2Score PearsonCorrelation
    """
)
FUNCTIONS = ACTIVATIONS | _words(
    """
    binary_crossentropy binary_focal_crossentropy categorical_crossentropy
    categorical_focal_crossentropy sparse_categorical_crossentropy categorical_hinge hinge
    squared_hinge cosine_similarity dice tversky huber kl_divergence log_cosh mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
    accuracy acc crossentropy ce mae mape mse msle MAE MAPE MSE MSLE kld KLD
    kullback_leibler_divergence bce BCE cosine logcosh
    binary_accuracy categorical_accuracy sparse_categorical_accuracy top_k_categorical_accuracy
    sparse_top_k_categorical_accuracy
    """
)
"""What activations, losses and metrics are called when they are functions."""

DTYPES = frozenset(
    {"float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool"}
)
"""Of inputs and of values in between; weights are float32."""

UNSUITED = {
    "Lambda": "a Lambda layer, which is Python code. Replace it with layers or operations of Keras",
    "__lambda__": "a Python lambda. Replace it with a named function of Keras",
    "StringLookup": "a layer that looks words up and can read files. Make the numbers outside of "
    "the model",
    "IntegerLookup": "a layer that looks values up and can read files. Make the numbers outside of "
    "the model",
    "TextVectorization": "a layer that splits text and can read files. Make the numbers outside of "
    "the model",
    "TFSMLayer": "a TensorFlow SavedModel, which is code. Build the model of layers of Keras",
    "TorchModuleWrapper": "a torch module, which is code. Build the model of layers of Keras",
    "JaxLayer": "JAX code. Build the model of layers of Keras",
    "FlaxLayer": "Flax code. Build the model of layers of Keras",
}
"""Classes that people do use, and what to do instead."""
