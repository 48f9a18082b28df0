package dreamlite.core

/** The checkpoint's own configuration, as the exporter's `DreamLiteConfig` has it. Shapes follow from it. */
public data class ModelConfig(
    val unet: UNetConfig,
    val text: TextConfig,
    val vision: VisionConfig,
    val vae: VaeConfig,
    val scheduler: ScheduleConfig,
)

/** What of the U-Net's configuration fixes shapes; the rest is checked while reading and not kept. */
public data class UNetConfig(val blockOutChannels: List<Int>, val encoderHidDim: Int) {
    /** Width of the step embedding. */
    public val timeEmbedDim: Int get() = 4 * blockOutChannels[0]
}

/** What of the text tower's configuration fixes shapes and ids. */
public data class TextConfig(
    val vocabSize: Int,
    val hiddenSize: Int,
    val imageTokenId: Int,
    val visionStartTokenId: Int,
    val visionEndTokenId: Int,
)

/** The vision tower on one static square picture. */
public data class VisionConfig(
    val imageSize: Int,
    val inChannels: Int,
    val patchSize: Int,
    val mergeSize: Int,
    val outHiddenSize: Int,
    val deepstackLayers: List<Int>,
    val mean: List<Double>,
    val std: List<Double>,
) {
    /** Patches along one side. */
    public val grid: Int get() = imageSize / patchSize
    public val numPatches: Int get() = grid * grid

    /** Image tokens after merging: what the text tower sees. */
    public val numTokens: Int get() = numPatches / (mergeSize * mergeSize)
    public val patchDim: Int get() = inChannels * patchSize * patchSize
}

/** The tiny autoencoder. [scale]: picture pixels per latent along one side. */
public data class VaeConfig(
    val inChannels: Int,
    val latentChannels: Int,
    val scale: Int,
    val scalingFactor: Double,
    val shiftFactor: Double,
)

/** Flow-match Euler with dynamic exponential shift. */
public data class ScheduleConfig(
    val numTrainTimesteps: Int,
    val baseImageSeqLen: Int,
    val maxImageSeqLen: Int,
    val baseShift: Double,
    val maxShift: Double,
    val shift: Double,
    val useDynamicShifting: Boolean,
)

private val BLOCK_KINDS = setOf("full", "cross", "plain").associateWith { it }
private val VISION_ACTS = setOf("gelu_pytorch_tanh", "gelu", "silu").associateWith { it }
private val VAE_ACTS = setOf("relu", "silu", "gelu", "mish").associateWith { it }
private val ANY = 0..Int.MAX_VALUE
private val THREE = 3..3

internal fun readModelConfig(node: Node): ModelConfig = node.members {
    ModelConfig(
        unet = readUNet(get("unet")),
        text = readText(get("text")),
        vision = readVision(get("vision")),
        vae = readVae(get("vae")),
        scheduler = get("scheduler").members { readSchedule() },
    )
}

internal fun Fields.readSchedule() = ScheduleConfig(
    numTrainTimesteps = get("num_train_timesteps").int(1),
    baseImageSeqLen = get("base_image_seq_len").int(1),
    maxImageSeqLen = get("max_image_seq_len").int(1),
    baseShift = get("base_shift").double(),
    maxShift = get("max_shift").double(),
    shift = get("shift").double(),
    useDynamicShifting = get("use_dynamic_shifting").truth(),
)

private fun readUNet(node: Node) = node.members {
    counts("in_channels", "out_channels", "num_mid_layers", "num_kv_heads", "cross_attention_dim", "ff_mult")
    counts("norm_num_groups", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
    for (key in listOf("down_kinds", "up_kinds")) get(key).list(ANY) { it.choice(BLOCK_KINDS) }
    for (key in listOf("layers_per_block", "num_heads", "transformer_layers")) get(key).list(ANY) { it.long(Long.MIN_VALUE).toInt() }
    get("norm_eps").double()
    get("freq_shift").double()
    get("flip_sin_to_cos").truth()
    UNetConfig(get("block_out_channels").list(1..Int.MAX_VALUE) { it.int(1) }, get("encoder_hid_dim").int(1))
}

private fun readText(node: Node) = node.members {
    counts("intermediate_size", "num_layers", "num_heads", "num_kv_heads", "head_dim")
    get("rms_norm_eps").double()
    get("rope_theta").double()
    get("mrope_section").list(THREE) { it.long(Long.MIN_VALUE).toInt() }
    TextConfig(
        vocabSize = get("vocab_size").int(1),
        hiddenSize = get("hidden_size").int(1),
        imageTokenId = get("image_token_id").int(0),
        visionStartTokenId = get("vision_start_token_id").int(0),
        visionEndTokenId = get("vision_end_token_id").int(0),
    )
}

private fun readVision(node: Node) = node.members {
    counts("depth", "hidden_size", "intermediate_size", "num_heads", "temporal_patch_size", "num_position_embeddings")
    get("rope_theta").double()
    get("hidden_act").choice(VISION_ACTS)
    VisionConfig(
        imageSize = get("image_size").int(1),
        inChannels = get("in_channels").int(1),
        patchSize = get("patch_size").int(1),
        mergeSize = get("spatial_merge_size").int(1),
        outHiddenSize = get("out_hidden_size").int(1),
        deepstackLayers = get("deepstack_layers").list(ANY) { it.long(Long.MIN_VALUE).toInt() },
        mean = get("image_mean").list(THREE) { it.double() },
        std = get("image_std").list(THREE) { it.double() },
    )
}

private fun readVae(node: Node) = node.members {
    counts("out_channels", "encoder_channels", "decoder_channels")
    get("num_decoder_blocks").list(ANY) { it.long(Long.MIN_VALUE).toInt() }
    get("act_fn").choice(VAE_ACTS)
    val levels = get("num_encoder_blocks").list(1..Int.MAX_VALUE) { it.long(Long.MIN_VALUE) }.size
    VaeConfig(
        inChannels = get("in_channels").int(1),
        latentChannels = get("latent_channels").int(1),
        scale = 1 shl (levels - 1).coerceIn(0, MOST_DOUBLINGS),
        scalingFactor = get("scaling_factor").double(),
        shiftFactor = get("shift_factor").double(),
    )
}

private const val MOST_DOUBLINGS = 16

/** Whole numbers that fix no shape here: the exporter judges them. */
private fun Fields.counts(vararg keys: String) {
    for (key in keys) get(key).long(Long.MIN_VALUE)
}
