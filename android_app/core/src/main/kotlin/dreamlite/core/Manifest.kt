package dreamlite.core

/** What a bundle can do. [key] is how the manifest and the programs' methods call it. */
public enum class Mode(public val key: String) {
    GENERATE("generate"),
    EDIT("edit"),
}

/** What runs a bundle's programs. Core ML bundles are read, so that they can be refused by name. */
public enum class Backend(public val key: String) {
    XNNPACK("xnnpack"),
    ONNX("onnx"),
    QNN("qnn"),
    COREML("coreml"),
}

/**
 * The whole of a bundle's `manifest.json`, schema version 4: the exporter's `bundle_schema.Manifest`.
 *
 * A manifest that exists is consistent: shapes follow from checkpoint, sizes and prompt, every path is listed once.
 *
 * @property sizes every picture size it draws, the default first.
 */
public data class Manifest(
    val tools: Map<String, String>,
    val checkpoint: CheckpointIdentity,
    val backend: Backend,
    val target: String,
    val sizes: List<SizeEntry>,
    val modes: List<Mode>,
    val components: Map<String, ComponentEntry>,
    val prompt: PromptEntry,
    val embeddings: EmbeddingsEntry?,
    val schedule: ScheduleConfig,
    val defaultSteps: Int,
    val vae: VaeEntry,
    val noise: String,
    val licence: String,
    val needs: Needs,
    val htp: HtpEntry?,
    val documents: List<String>,
    val files: Map<String, FileEntry>,
    internal val hasCoreMl: Boolean,
) {
    /** The first size, which is the default. */
    public val size: SizeEntry get() = sizes.first()

    /** What belongs to a picture size, or to the default where none is named; BundleException naming those there are. */
    public fun size(wanted: PictureSize?, where: String = "this bundle"): SizeEntry = if (wanted == null) {
        size
    } else {
        sizes.firstOrNull { it.sides == wanted } ?: throw BundleException(
            "$where: made for ${sizes.joinToString { "${it.sides}" }}, not for $wanted. " +
                "Take one of its sizes, or export it again with --size $wanted too.",
        )
    }

    public companion object {
        public const val SCHEMA_VERSION: Int = 4

        /** Picture sizes of one bundle. */
        public const val MOST_SIZES: Int = 16
        public const val MAX_STEPS: Int = 50
        public const val STEP_ROWS: Int = 1275
    }
}

/** One named input or output with a static shape; float32, row-major. */
public data class TensorSpec(val name: String, val shape: List<Int>) {
    public val count: Int get() = shape.fold(1, Int::times)
    public val nbytes: Long get() = 4L * count
}

/** How the elements of what shards hand on are stored. */
public enum class HandedDtype(public val key: String, public val bytes: Int) {
    FLOAT32("float32", 4),
    FLOAT16("float16", 2),
}

/** One tensor that a shard takes or gives: of the method, float32, or handed on from shard to shard. */
public data class HandedSpec(val name: String, val dtype: HandedDtype, val shape: List<Int>) {
    public val nbytes: Long get() = shape.fold(dtype.bytes.toLong(), Long::times)
}

/** One program of a method that is cut into several: what it takes and gives, in call order. */
public data class ShardEntry(val inputs: List<HandedSpec>, val outputs: List<HandedSpec>)

/** One callable of a component; [then] are the programs that go on where [file] ends, [shards] what each of them takes and gives. */
public data class MethodEntry(
    val file: String,
    val then: List<String>,
    val inputs: List<TensorSpec>,
    val outputs: List<TensorSpec>,
    val shards: List<ShardEntry> = emptyList(),
)

/** One exported network and everything it reads. */
public data class ComponentEntry(val files: List<String>, val precision: String, val methods: Map<String, MethodEntry>)

/** Size and digest of one file of the bundle. */
public data class FileEntry(val bytes: Long, val sha256: String)

/** Where the weights came from; [sha256] identifies them, wherever they lie. */
public data class CheckpointIdentity(val source: String, val revision: String?, val sha256: String, val config: ModelConfig)

/** Raw little-endian float32 rows; the row of step i of n is n*(n-1)/2 + i. */
public data class StepTable(val file: String, val columns: Int) {
    public val nbytes: Long get() = Manifest.STEP_ROWS.toLong() * columns * 4
}

/** How embeddings are stored. */
public enum class TableDtype(public val key: String, public val bytes: Int) {
    FLOAT32("float32", 4),
    FLOAT16("float16", 2),
    BFLOAT16("bfloat16", 2),
    INT8("int8", 1),
}

/** Raw little-endian token embeddings [rows, columns]; after those in int8 one float32 scale for each row. */
public data class EmbeddingsEntry(val file: String, val rows: Int, val columns: Int, val dtype: TableDtype) {
    public val nbytes: Long get() = rows * (columns.toLong() * dtype.bytes + if (dtype == TableDtype.INT8) Float.SIZE_BYTES else 0)
}

/** One picture size in pixels and what depends on it; [sigmas]: steps to steps + 1 noise levels. */
public data class SizeEntry(val width: Int, val height: Int, val sigmas: Map<Int, List<Double>>, val stepEmbeddings: StepTable?) {
    public val sides: PictureSize get() = PictureSize(width, height)
}

/**
 * How one mode words its prompt: template({wording({prompt})}), and the static lengths of its tokens.
 *
 * [prefixTokens]: the first tokens of every prompt, where the text encoder holds what they leave behind and takes only
 * the embeddings of those after them; else empty.
 */
public data class ModePrompt(
    val template: String,
    val wording: String,
    val dropTokens: Int,
    val inputLength: Int,
    val sequenceLength: Int,
    val maxPromptTokens: Int,
    val prefixTokens: List<Int> = emptyList(),
)

/** The static picture of the vision tower: LANCZOS to [pictureSize] squared, (x/255 - mean)/std, patches. */
public data class VisionEntry(
    val pictureSize: Int,
    val patchSize: Int,
    val mergeSize: Int,
    val mean: List<Double>,
    val std: List<Double>,
    val deepstackCount: Int,
) {
    public val grid: Int get() = pictureSize / patchSize
    public val numPatches: Int get() = grid * grid
    public val numTokens: Int get() = numPatches / (mergeSize * mergeSize)
}

/** Everything between a prompt and the text encoder. */
public data class PromptEntry(
    val tokenizer: String,
    val stateWidth: Int,
    val modes: Map<Mode, ModePrompt>,
    val imageTokenId: Int,
    val visionStartTokenId: Int,
    val visionEndTokenId: Int,
    val padTokenId: Int,
    val vision: VisionEntry,
)

/** [scale] picture pixels per latent; decoder input is latents / [scalingFactor] + [shiftFactor]. */
public data class VaeEntry(val scale: Int, val latentChannels: Int, val scalingFactor: Double, val shiftFactor: Double)

/** Runtime versions that must match what compiled the programs; [qnn] is the least. */
public data class Needs(val executorch: String?, val onnxruntime: String?, val qnn: String?)

/** The Qualcomm chip that the programs were compiled for. [chipset] is QNN's number of the SoC. */
public data class HtpEntry(
    val soc: String,
    val chipset: Int,
    val architecture: String,
    val vtcmMb: Int,
    val qnnBuild: String,
    val sharedWeights: Boolean,
)
