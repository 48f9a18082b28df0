package dreamlite.core.bench

import dreamlite.core.Bundle
import dreamlite.core.BundleException
import dreamlite.core.ComponentFactory
import dreamlite.core.ConfigException
import dreamlite.core.DreamLiteException
import dreamlite.core.MANIFEST_NAME
import dreamlite.core.Pipeline
import dreamlite.core.Residency
import dreamlite.core.Session
import dreamlite.core.residency
import dreamlite.core.sha256
import kotlinx.coroutines.CancellationException
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import kotlin.io.path.Path

/** Makes components with as many threads as asked; null leaves the choice to the runtime. */
public fun interface FactoryMaker {
    public fun make(threads: Int?): ComponentFactory
}

/**
 * Answers run requests of `dreamlite bench`: loads a bundle cold, draws, measures, and writes picture, result and marker.
 *
 * [outRoots] are the folders in which an answer may be written, under every name that the host may use for them.
 */
public class BenchRunner(
    private val app: AppVersions,
    private val gauges: Gauges,
    private val pictures: PictureFiles,
    private val factories: FactoryMaker,
    private val outRoots: List<Path>,
) {
    /**
     * Does what the request in a file asks, once. What cannot be done becomes a result with `problem`; a cancelled run
     * writes nothing.
     *
     * @param told receives every sample as it is taken, outside of what is measured.
     * @throws ConfigException there is no readable request, or no place to answer in: the host's log shows it.
     */
    public suspend fun run(requestFile: Path, told: (Sample) -> Unit = {}): RunResult {
        val request = RunRequest.read(bytesOf(requestFile))
        val out = OutFolder(request.out, outRoots)
        val begin = clock()
        val before = gauges.conditions()
        val answer = try {
            measure(request, out, told)
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (error: DreamLiteException) {
            Answer(error.message.orEmpty().ifEmpty { error.toString() })
        } catch (error: OutOfMemoryError) {
            Answer("not enough memory for ${request.bundle}: $error. Close other apps, or use a smaller bundle.")
        } catch (error: Exception) {
            Answer("the app failed: $error at ${error.stackTrace.firstOrNull()}")
        }
        return RunResult(
            id = request.id,
            bundleSha256 = answer.bundleSha256 ?: request.bundleSha256,
            mode = request.mode,
            seed = request.seed,
            steps = request.steps,
            app = app,
            problem = answer.problem,
            begin = begin,
            end = clock(),
            before = before,
            after = gauges.conditions(),
            load = answer.load,
            samples = answer.samples,
            peakPssBytes = answer.peakPssBytes,
            picture = answer.picture,
        ).also(out::finish)
    }

    private class Answer(
        val problem: String?,
        val bundleSha256: String? = null,
        val load: List<LoadTime> = emptyList(),
        val samples: List<Sample> = emptyList(),
        val peakPssBytes: Long? = null,
        val picture: OutputPicture? = null,
    )

    private suspend fun measure(request: RunRequest, out: OutFolder, told: (Sample) -> Unit): Answer {
        val source = request.picture?.let { pictures.read(checked(it)) }
        val bundle = open(request)
        // as the app itself would hold them: a run that must load again is measured with that
        val residency = bundle.manifest.residency(request.mode, gauges.availableBytes())
        Session(bundle, factories.make(request.threads), residency).use { session ->
            val runs = BenchRuns(session, residency == Residency.ONE_AT_A_TIME, request, source, gauges, told)
            val load = runs.load()
            val pipeline = Pipeline(session)
            val first = runs.first(pipeline)
            val picture = out.picture(pictures.png(first))
            runs.others(pipeline)
            return Answer(null, request.bundleSha256, load, runs.samples, runs.peakPssBytes, picture)
        }
    }

    /** The bundle, without reading its weights: the host compared their digests, and a cold load must find them cold. */
    private fun open(request: RunRequest): Bundle {
        val folder = Path(request.bundle)
        val bundle = Bundle.open(folder, hashes = false)
        val found = sha256(folder.resolve(MANIFEST_NAME))
        if (found != request.bundleSha256) {
            throw BundleException("$folder: is another bundle ($found) than was asked for (${request.bundleSha256}). Push it again.")
        }
        bundle.require(request.mode)
        bundle.manifest.size(request.size, request.bundle)
        return bundle
    }

    private fun checked(wanted: PhoneFile): Path {
        val file = Path(wanted.file)
        val found = try {
            sha256(file)
        } catch (error: IOException) {
            throw ConfigException("${wanted.file}: cannot be read: $error")
        }
        if (found != wanted.sha256) throw ConfigException("${wanted.file}: has sha256 $found, expected ${wanted.sha256}. Push it again.")
        return file
    }

    private fun bytesOf(requestFile: Path): ByteArray = try {
        Files.readAllBytes(requestFile)
    } catch (error: IOException) {
        throw ConfigException("$requestFile: cannot be read: $error")
    }

    private fun clock() = ClockReading(gauges.monotonicNanos() / NANOS_IN_MS, gauges.wallMillis().toDouble())
}

internal const val NANOS_IN_MS = 1e6
