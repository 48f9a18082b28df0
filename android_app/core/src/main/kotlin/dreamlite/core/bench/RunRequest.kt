package dreamlite.core.bench

import dreamlite.core.ConfigException
import dreamlite.core.Json
import dreamlite.core.JsonProblem
import dreamlite.core.Manifest
import dreamlite.core.Mode
import dreamlite.core.Node
import dreamlite.core.PictureSize
import dreamlite.core.Problems
import dreamlite.core.Unreadable
import dreamlite.core.parseJson
import dreamlite.core.strictUtf8

/** A file on the phone and what it must be. */
public data class PhoneFile(val file: String, val sha256: String)

/**
 * What the host asks of one process of the app: load, one first run, [warmUp] runs, then [runs] timed ones.
 * `dreamlite_mobile/device/schema.py` is the other side of it.
 *
 * With [sustainS] timed runs go on until that many seconds have passed, and at least [runs] of them. [bundleSha256] is
 * of the bundle's `manifest.json`, [size] one of its sizes, null the first; what is made goes into the folder [out].
 */
public data class RunRequest(
    val id: String,
    val bundle: String,
    val bundleSha256: String,
    val mode: Mode,
    val prompt: String,
    val picture: PhoneFile?,
    val size: PictureSize?,
    val seed: ULong,
    val steps: Int,
    val warmUp: Int,
    val runs: Int,
    val sustainS: Double?,
    val threads: Int?,
    val out: String,
) {
    /** As JSON, equal to what Python writes. */
    public fun toJson(): String = jsonText(
        members(
            "version" to json(VERSION),
            "id" to json(id),
            "bundle" to json(bundle),
            "bundle_sha256" to json(bundleSha256),
            "mode" to json(mode.key),
            "prompt" to json(prompt),
            "picture" to (picture?.let { members("file" to json(it.file), "sha256" to json(it.sha256)) } ?: Json.Null),
            "size" to (size?.let { json(it.toString()) } ?: Json.Null),
            "seed" to json(seed),
            "steps" to json(steps),
            "warm_up" to json(warmUp),
            "runs" to json(runs),
            "sustain_s" to json(sustainS),
            "threads" to json(threads),
            "out" to json(out),
        ),
    )

    public companion object {
        /** Of both schemas, request and result. */
        public const val VERSION: Int = 1

        /**
         * Reads a request strictly.
         *
         * @throws ConfigException listing everything that is wrong.
         */
        public fun read(bytes: ByteArray): RunRequest = readDocument("request.json", bytes) { it.readRequest() }
    }
}

internal val SHA256 = Regex("[0-9a-f]{64}")
internal val MODES = Mode.entries.associateBy { it.key }
internal const val DIGITS = "64 hexadecimal digits"
private val ID = Regex("[a-z0-9-]{1,60}")
private val PATH = Regex("/[A-Za-z0-9._/-]{1,239}")
private const val MOST_WARM_UP = 1000L
private const val MOST_RUNS = 10_000L
private const val MOST_THREADS = 256L

/** Parses, reads and refuses: everything that is wrong in one message. */
internal fun <T> readDocument(name: String, bytes: ByteArray, read: (Node) -> T): T {
    val problems = Problems()
    val found = try {
        read(Node(parseJson(strictUtf8(bytes) ?: throw JsonProblem("not UTF-8")), "", problems))
    } catch (problem: JsonProblem) {
        throw ConfigException("$name: ${problem.message}")
    } catch (_: Unreadable) {
        null
    }
    if (found == null || problems.any) {
        throw ConfigException("$name: $problems. The app and `dreamlite bench` must be of one version.")
    }
    return found
}

private fun Node.readRequest(): RunRequest = members {
    default("version", Unit) { it.long(RunRequest.VERSION.toLong(), RunRequest.VERSION.toLong()) }
    val found = RunRequest(
        id = get("id").pattern(ID, "1 to 60 of a-z, 0-9 and '-'"),
        bundle = get("bundle").path(),
        bundleSha256 = get("bundle_sha256").pattern(SHA256, DIGITS),
        mode = get("mode").choice(MODES),
        prompt = get("prompt").text(),
        picture = optional("picture") { it.members { PhoneFile(get("file").path(), get("sha256").pattern(SHA256, DIGITS)) } },
        size = optional("size") { node ->
            PictureSize.parse(node.text()) ?: run {
                node.problem("must be a size such as 512x768")
                throw Unreadable()
            }
        },
        seed = get("seed").seed(),
        steps = get("steps").steps(),
        warmUp = get("warm_up").long(0, MOST_WARM_UP).toInt(),
        runs = get("runs").long(1, MOST_RUNS).toInt(),
        sustainS = optional("sustain_s") { it.above(0.0) },
        threads = optional("threads") { it.long(1, MOST_THREADS).toInt() },
        out = get("out").path(),
    )
    if ((found.picture == null) != (found.mode == Mode.GENERATE)) problem("an edit has a picture to change, and only an edit")
    found
}

private fun Node.path() = pattern(PATH, "an absolute path of letters, digits and ._/-")

internal fun Node.steps() = long(1, Manifest.MAX_STEPS.toLong()).toInt()

/** Up to 2^64 - 1, which no signed number holds. */
internal fun Node.seed(): ULong {
    val text = (json as? Json.Number)?.text
    return text?.toULongOrNull() ?: run {
        problem("must be a whole number in 0...${ULong.MAX_VALUE}${text?.let { " (found ${it.take(40)})" }.orEmpty()}")
        throw Unreadable()
    }
}

internal fun Node.atLeast(least: Double): Double = double().also { if (it < least) problem("must be $least or more (found $it)") }

internal fun Node.above(least: Double): Double = double().also { if (it <= least) problem("must be more than $least (found $it)") }
