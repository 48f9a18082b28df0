package dreamlite.core.bench

import dreamlite.core.FORWARD
import dreamlite.core.Picture
import dreamlite.core.Pipeline
import dreamlite.core.Progress
import dreamlite.core.SIZED
import dreamlite.core.Session
import dreamlite.core.Timings
import dreamlite.core.componentsOf
import kotlinx.coroutines.flow.collect

private const val MS_IN_S = 1e3

/** The runs of one request over one session, with what each took; [reloads]: memory holds one component at a time. */
internal class BenchRuns(
    private val session: Session,
    private val reloads: Boolean,
    private val request: RunRequest,
    private val source: Picture?,
    private val gauges: Gauges,
    private val told: (Sample) -> Unit,
) {
    val samples = ArrayList<Sample>()
    var peakPssBytes: Long? = null
        private set

    /** Every component of the mode, as the pipeline will use it. */
    suspend fun load(): List<LoadTime> = session.alone {
        componentsOf(request.mode).map { name ->
            val method = methodOf(name)
            val begin = gauges.monotonicNanos()
            session.component(name).load(method)
            LoadTime(name, method, since(begin)).also { weigh() }
        }
    }

    /** The first size where none is asked for, also for an edit: what is measured does not depend on the picture. */
    private val size = session.bundle.manifest.size(request.size).sides

    private fun methodOf(name: String): String {
        val manifest = session.bundle.manifest
        val method = request.mode.key.takeIf { it in manifest.components.getValue(name).methods } ?: FORWARD
        return if (name in SIZED) method + size.suffix(manifest.size.sides) else method
    }

    /** The first run, whose picture is kept: every run draws the same one. */
    suspend fun first(pipeline: Pipeline): Picture = run(pipeline, Kind.FIRST)

    /** Warm-up runs, then timed ones: as many as asked, and for as long. */
    suspend fun others(pipeline: Pipeline) {
        repeat(request.warmUp) { run(pipeline, Kind.WARM_UP) }
        repeat(request.runs) { run(pipeline, Kind.TIMED) }
        val end = samples.first().beginMs + (request.sustainS ?: return) * MS_IN_S
        while (gauges.monotonicNanos() / NANOS_IN_MS < end) run(pipeline, Kind.TIMED)
    }

    private suspend fun run(pipeline: Pipeline, kind: Kind): Picture {
        val flow = if (source == null) {
            pipeline.generate(request.prompt, request.seed, request.steps, size)
        } else {
            pipeline.edit(source, request.prompt, request.seed, request.steps, size)
        }
        val steps = ArrayList<Double>()
        lateinit var done: Progress.Done
        val begin = gauges.monotonicNanos()
        flow.collect { progress ->
            when (progress) {
                is Progress.Step -> steps += progress.seconds * MS_IN_S
                is Progress.Done -> done = progress
                is Progress.Stage -> if (kind == Kind.WARM_UP) weigh()
                is Progress.PromptCut -> Unit
            }
        }
        val taken = since(begin)
        val stages = done.timings.byStage.filterKeys { reloads || it != Timings.LOADING }.mapValues { it.value * MS_IN_S }
        keep(Sample(kind, begin / NANOS_IN_MS, taken, stages, steps, gauges.conditions(), gauges.cpuKhz()))
        return done.picture
    }

    private fun keep(sample: Sample) {
        samples += sample
        weigh()
        told(sample)
    }

    private fun weigh() {
        val now = gauges.pssBytes() ?: return
        peakPssBytes = maxOf(now, peakPssBytes ?: 0L)
    }

    private fun since(begin: Long) = (gauges.monotonicNanos() - begin) / NANOS_IN_MS
}
