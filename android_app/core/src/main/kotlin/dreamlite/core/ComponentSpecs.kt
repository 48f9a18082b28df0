package dreamlite.core

/** The method of components that have only one. */
public const val FORWARD: String = "forward"

/** Every component name, in the order a run uses them. */
public val COMPONENTS: List<String> = listOf("vision_encoder", "text_encoder", "vae_encoder", "unet", "vae_decoder")

/** Components whose shapes follow the picture size: they have methods for each of a bundle's sizes. */
public val SIZED: Set<String> = setOf("unet", "vae_encoder", "vae_decoder")

/** The components that a mode needs from prompt to picture. */
public fun componentsOf(mode: Mode): List<String> =
    if (mode == Mode.EDIT) COMPONENTS else COMPONENTS - setOf("vision_encoder", "vae_encoder")

/** Refuses a bundle that lacks a component of a mode, also before it is copied; [where] begins the message. */
public fun Manifest.requireComponents(mode: Mode, where: String = "this bundle") {
    val missing = componentsOf(mode) - components.keys
    if (missing.isEmpty()) return
    throw BundleException("$where: ${mode.key} needs ${missing.joinToString()}, which it lacks. Export it again without --components.")
}

internal class MethodShape(val inputs: List<TensorSpec>, val outputs: List<TensorSpec>)

/** Shapes of every component and method that the manifest's modes and sizes need, from checkpoint and token counts. */
internal fun componentShapes(manifest: Manifest): Map<String, Map<String, MethodShape>> {
    val needed = manifest.modes.flatMap(::componentsOf).toSet()
    val (first, sizes) = manifest.size.sides to manifest.sizes.map { it.sides }
    return COMPONENTS.filter { it in needed }.associateWith { name ->
        (if (name in SIZED) sizes else listOf(first)).flatMap { size ->
            SizeShapes(manifest, size).methods(name).map { (method, shape) -> method + size.suffix(first) to shape }
        }.toMap()
    }
}

/** Shapes for one of the sizes, by the names that the methods of the first one have. */
private class SizeShapes(private val manifest: Manifest, size: PictureSize) {
    private val config = manifest.checkpoint.config
    private val scale = config.vae.scale
    private val latents = listOf(1, config.vae.latentChannels, size.height / scale, size.width / scale)
    private val image = listOf(1, config.vae.inChannels, size.height, size.width)

    fun methods(name: String): Map<String, MethodShape> = when (name) {
        "text_encoder" -> manifest.modes.associate { it.key to text(it) }
        "unet" -> manifest.modes.associate { it.key to unet(it) }
        else -> mapOf(FORWARD to forward(name))
    }

    private fun text(mode: Mode): MethodShape {
        val prompt = manifest.prompt.modes.getValue(mode)
        val width = config.text.hiddenSize
        val embeddings = TensorSpec("embeddings", listOf(1, prompt.inputLength - prompt.prefixTokens.size, width))
        val states = TensorSpec("prompt_states", listOf(1, prompt.sequenceLength, width))
        return MethodShape(if (mode == Mode.EDIT) listOf(embeddings, deepstack()) else listOf(embeddings), listOf(states))
    }

    private fun unet(mode: Mode): MethodShape {
        val states = manifest.prompt.modes.getValue(mode).sequenceLength
        val inputs = listOf(
            TensorSpec("latents", latents),
            TensorSpec("condition", latents),
            TensorSpec("step_embedding", listOf(1, config.unet.timeEmbedDim)),
            TensorSpec("prompt_states", listOf(1, states, config.unet.encoderHidDim)),
            TensorSpec("mask", listOf(1, states)),
        )
        return MethodShape(inputs, listOf(TensorSpec("velocity", latents)))
    }

    private fun forward(name: String): MethodShape {
        val picture = listOf(TensorSpec("image", image))
        val coded = listOf(TensorSpec("latents", latents))
        val vision = config.vision
        return when (name) {
            "vae_encoder" -> MethodShape(picture, coded)
            "vae_decoder" -> MethodShape(coded, picture)
            else -> MethodShape(
                listOf(TensorSpec("patches", listOf(vision.numPatches, vision.patchDim))),
                listOf(TensorSpec("image_tokens", listOf(vision.numTokens, vision.outHiddenSize)), deepstack()),
            )
        }
    }

    private fun deepstack() = config.vision.let {
        TensorSpec("deepstack", listOf(it.deepstackLayers.size, it.numTokens, it.outHiddenSize))
    }
}
