package dreamlite.core

import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.flow
import java.nio.FloatBuffer

/**
 * Generate and edit over a [Session]: `dreamlite_mobile/pipeline.py`, with the same numbers.
 *
 * Runs are cold flows: nothing happens before one is collected, and cancelling the collector stops the run before the
 * next component call. They compute on the collector's dispatcher; use `flowOn`. Refusals are DreamLiteExceptions
 * thrown to the collector, and leave the session usable.
 *
 * @throws BundleException a table is missing, or the tokenizer does not give the lengths the programs were made for.
 */
public class Pipeline(private val session: Session) {
    private val bundle = session.bundle
    private val manifest = bundle.manifest
    private val prompts: PromptEncoder
    private val embeddings: EmbeddingTable
    private val stepTables = HashMap<PictureSize, StepEmbeddings>()
    private val buffers = HashMap<Pair<String, String>, Map<String, FloatBuffer>>()

    init {
        if (manifest.noise !=
            Noise.NAME
        ) {
            throw BundleException("${bundle.path}: made for noise '${manifest.noise}'; this app makes ${Noise.NAME}. Update the app.")
        }
        val table =
            manifest.embeddings ?: throw BundleException("${bundle.path}: has no embedding table. Export it again with the text_encoder.")
        prompts = PromptEncoder(Tokenizer.read(bundle.file(manifest.prompt.tokenizer)), manifest.prompt)
        embeddings = EmbeddingTable(bundle.file(table.file), table)
        for (size in manifest.sizes) {
            val steps = size.stepEmbeddings
                ?: throw BundleException("${bundle.path}: has no step-embedding table. Export it again with the unet.")
            stepTables[size.sides] = StepEmbeddings(bundle.file(steps.file), steps)
        }
    }

    /**
     * Text to picture, in one of the bundle's sizes, by default the first.
     *
     * Refusals: PromptException, ConfigException (steps), BundleException (mode, size), ComponentException.
     */
    public fun generate(prompt: String, seed: ULong, steps: Int = manifest.defaultSteps, size: PictureSize? = null): Flow<Progress> = flow {
        session.alone {
            val run = start(Mode.GENERATE, seed, steps, size)
            val layout = prompts.generate(prompt)
            announce(layout)
            inputs("unet", run.unet).getValue("condition").fill(FloatArray(run.latents.size))
            encode(run, layout, null)
            denoise(run)
        }
    }

    /**
     * Changes an upright RGB picture as the instruction says, by default in the bundle's size that is shaped most like it.
     * Refusals as for [generate], and ImageException.
     */
    public fun edit(
        picture: Picture,
        instruction: String,
        seed: ULong,
        steps: Int = manifest.defaultSteps,
        size: PictureSize? = null,
    ): Flow<Progress> = flow {
        session.alone {
            val run = start(Mode.EDIT, seed, steps, size ?: manifest.sizes.map { it.sides }.nearestShape(picture.size))
            picture.checkSource()
            val layout = prompts.edit(instruction)
            announce(layout)
            val patches = inputs("vision_encoder", FORWARD)
            picture.toPatches(manifest.prompt.vision, patches.getValue("patches"))
            val seen = call(run, "vision_encoder", FORWARD, patches)
            inputs("text_encoder", Mode.EDIT.key).getValue("deepstack").fill(seen.getValue("deepstack"))
            encode(run, layout, seen.getValue("image_tokens"))
            val source = inputs("vae_encoder", run.coder)
            picture.toCondition(run.size.width, run.size.height, source.getValue("image"))
            val coded = call(run, "vae_encoder", run.coder, source).getValue("latents")
            inputs("unet", run.unet).getValue("condition").fill(coded)
            denoise(run)
        }
    }

    /** [unet] and [coder]: the methods of the U-Net and of both halves of the autoencoder for this mode and size. */
    private class Run(val mode: Mode, val size: PictureSize, suffix: String, val sigmas: FloatArray, val latents: FloatArray) {
        val unet = mode.key + suffix
        val coder = FORWARD + suffix
        val steps = sigmas.size - 1
        val row = FloatArray(Schedule.ROW)
        val watch = Stopwatch()
    }

    private fun start(mode: Mode, seed: ULong, steps: Int, wanted: PictureSize?): Run {
        bundle.require(mode)
        val size = manifest.size(wanted, bundle.path.toString()).sides
        val sigmas = Schedule.sigmas(steps, size.width, size.height, manifest.vae.scale, manifest.schedule)
        val cells = (size.width / manifest.vae.scale) * (size.height / manifest.vae.scale)
        val run = Run(mode, size, size.suffix(manifest.size.sides), sigmas, FloatArray(manifest.vae.latentChannels * cells))
        Noise.fill(seed, run.latents)
        return run
    }

    private suspend fun FlowCollector<Progress>.announce(layout: PromptLayout) {
        if (layout.lost.isNotEmpty()) emit(Progress.PromptCut(layout.lost))
    }

    /** Prompt states for the U-Net; [image] replaces the rows of the image tokens. */
    private suspend fun FlowCollector<Progress>.encode(run: Run, layout: PromptLayout, image: FloatBuffer?) {
        val texts = inputs("text_encoder", run.mode.key)
        val rows = texts.getValue("embeddings")
        val skipped = manifest.prompt.modes.getValue(run.mode).prefixTokens.size
        embeddings.lookup(layout.ids.copyOfRange(skipped, layout.ids.size), rows)
        if (image != null && layout.image != null) rows.fill(image, (layout.image.first - skipped) * manifest.prompt.stateWidth)
        val states = call(run, "text_encoder", run.mode.key, texts).getValue("prompt_states")
        val unet = inputs("unet", run.unet)
        unet.getValue("prompt_states").fill(states)
        unet.getValue("mask").fill(layout.mask)
    }

    /** The Euler loop, then the decoder. */
    private suspend fun FlowCollector<Progress>.denoise(run: Run) {
        val (inputs, stepTable) = inputs("unet", run.unet) to stepTables.getValue(run.size)
        val (noisy, embedding) = inputs.getValue("latents") to inputs.getValue("step_embedding")
        for (index in 0 until run.steps) {
            val begin = System.nanoTime()
            noisy.fill(run.latents)
            stepTable.row(run.steps, index, embedding)
            val velocity = call(run, "unet", run.unet, inputs, announce = index == 0).getValue("velocity")
            Schedule.eulerStep(run.latents, velocity, run.sigmas[index], run.sigmas[index + 1], run.row)
            val seconds = (System.nanoTime() - begin) / 1e9
            emit(Progress.Step(index, run.steps, run.sigmas[index], run.latents.copyOf(), seconds))
        }
        emit(decode(run))
    }

    private suspend fun FlowCollector<Progress>.decode(run: Run): Progress.Done {
        val inputs = inputs("vae_decoder", run.coder)
        val (scaled, vae) = inputs.getValue("latents") to manifest.vae
        val (factor, shift) = vae.scalingFactor.toFloat() to vae.shiftFactor.toFloat()
        scaled.fill(FloatArray(run.latents.size) { run.latents[it] / factor + shift })
        val image = call(run, "vae_decoder", run.coder, inputs).getValue("image")
        val picture = Picture.of(image, run.size.width, run.size.height)
        return Progress.Done(picture, run.latents, run.watch.timings())
    }

    private suspend fun FlowCollector<Progress>.call(
        run: Run,
        name: String,
        method: String,
        inputs: Map<String, FloatBuffer>,
        announce: Boolean = true,
    ): Map<String, FloatBuffer> {
        currentCoroutineContext().ensureActive()
        if (announce) emit(Progress.Stage(name))
        val component = run.watch.time(Timings.LOADING) { session.component(name).also { it.load(method) } }
        currentCoroutineContext().ensureActive()
        return run.watch.time(name) { component.run(method, inputs) }
    }

    /** The input buffers of a method: made once and passed again, so that components bind them once. */
    private fun inputs(name: String, method: String): Map<String, FloatBuffer> = buffers.getOrPut(name to method) {
        bundle.component(name).methods.getValue(method).inputs.associate { it.name to floatBuffer(it.count) }
    }
}

private fun FloatBuffer.fill(source: FloatArray) {
    duplicate().apply { clear() }.put(source)
}

/** Copies all of [source] here, from index [at] on; positions are left alone. */
private fun FloatBuffer.fill(source: FloatBuffer, at: Int = 0) {
    val from = source.duplicate().apply { clear() }
    val to = duplicate().apply { clear().position(at) }
    to.put(from)
}
