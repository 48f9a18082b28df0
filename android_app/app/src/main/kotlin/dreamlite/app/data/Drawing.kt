package dreamlite.app.data

import dreamlite.app.model.BundleCard
import dreamlite.app.model.Heat
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.LatentColours
import dreamlite.app.model.Notice
import dreamlite.app.model.Preview
import dreamlite.app.model.RunView
import dreamlite.core.Manifest
import dreamlite.core.Mode
import dreamlite.core.Noise
import dreamlite.core.Picture
import dreamlite.core.PictureSize
import dreamlite.core.Progress
import dreamlite.core.Schedule
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.withContext
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path

/** What is to be drawn. */
data class Order(val bundle: String, val prompt: String, val seed: ULong, val source: Path?, val size: PictureSize)

/** Told while drawing, on any thread. */
interface Listener {
    fun run(change: (RunView) -> RunView)

    fun notice(notice: Notice)
}

/** One run from an order to an entry of the history. */
class Drawing(
    private val easel: Easel,
    private val imports: Imports,
    private val history: HistoryStore,
    private val colours: ColourStore,
    private val heat: StateFlow<Int>,
    private val freeMemory: () -> Long,
    private val read: (Path) -> Picture,
    private val now: () -> Long,
    private val work: CoroutineDispatcher,
) {
    /** Refusals are DreamLiteExceptions; IOException where the result cannot be kept. */
    suspend fun draw(order: Order, listener: Listener): HistoryEntry = withContext(work) {
        val card = imports.card(order.bundle)
        val path = imports.path(order.bundle)
        val mode = if (order.source == null) Mode.GENERATE else Mode.EDIT
        val source = order.source?.let(read)
        cool(listener)
        val painter = easel.painter(path, card.digest) { manifest(path).plan(mode, freeMemory()) }
        val known = colours.of(card.checkpoint)
        val preview = preview(painter.manifest, order, known)
        val progress = if (source == null) {
            painter.generate(order.prompt, order.seed, card.steps, order.size)
        } else {
            painter.edit(source, order.prompt, order.seed, card.steps, order.size)
        }
        lateinit var done: Progress.Done
        progress.collect { told ->
            when (told) {
                is Progress.PromptCut -> listener.notice(Notice(Notice.Kind.CUT, told.lost))
                is Progress.Stage -> listener.run { it.copy(stage = told.name) }
                is Progress.Step -> {
                    val pixels = preview.of(told)
                    listener.run { it.copy(step = told.index + 1, preview = pixels) }
                    cool(listener)
                }
                is Progress.Done -> done = told
            }
        }
        val entry = entry(card, order, mode, done)
        history.add(entry, done.picture, source?.resized(order.size.width, order.size.height))
        colours.keep(card.checkpoint, known.learnt(done.latents, done.picture))
        entry
    }

    private fun manifest(path: Path): Manifest = dreamlite.core.Bundle.readManifestOf(path)

    /** Waits while the phone is critically hot. */
    private suspend fun cool(listener: Listener) {
        if (!Heat.waits(false, heat.value)) return
        listener.run { it.copy(cooling = true) }
        heat.first { !Heat.waits(true, it) }
        listener.run { it.copy(cooling = false) }
    }

    private fun preview(manifest: Manifest, order: Order, known: LatentColours): Preview {
        val (size, vae) = order.size to manifest.vae
        val (across, down) = size.width / vae.scale to size.height / vae.scale
        val noise = FloatArray(vae.latentChannels * across * down).also { Noise.fill(order.seed, it) }
        val sigmas = Schedule.sigmas(manifest.defaultSteps, size.width, size.height, vae.scale, manifest.schedule)
        return Preview(noise, sigmas, across, known)
    }

    private fun entry(card: BundleCard, order: Order, mode: Mode, done: Progress.Done): HistoryEntry {
        val created = now()
        return HistoryEntry(
            id = "$created-${order.seed}",
            mode = mode,
            prompt = order.prompt,
            seed = order.seed,
            steps = card.steps,
            width = order.size.width,
            height = order.size.height,
            bundle = card.name,
            precision = "${card.backend} ${card.precision}",
            created = created,
            stages = done.timings.byStage,
            total = done.timings.total,
        )
    }
}

/** What was learnt of the latents of each checkpoint. What cannot be read or kept is learnt anew. */
class ColourStore(private val home: Path) {
    fun of(checkpoint: String): LatentColours = try {
        LatentColours.read(String(Files.readAllBytes(home.resolve(checkpoint)))) ?: LatentColours.UNKNOWN
    } catch (_: IOException) {
        LatentColours.UNKNOWN
    }

    fun keep(checkpoint: String, colours: LatentColours) {
        try {
            Files.createDirectories(home)
            Files.write(home.resolve(checkpoint), colours.text().toByteArray())
        } catch (_: IOException) {
            return
        }
    }
}
