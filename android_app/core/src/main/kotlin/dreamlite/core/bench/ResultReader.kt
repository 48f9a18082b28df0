package dreamlite.core.bench

import dreamlite.core.COMPONENTS
import dreamlite.core.Fields
import dreamlite.core.Node
import dreamlite.core.Timings

private val FILE_NAME = Regex("[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")
private val KINDS = Kind.entries.associateBy { it.key }
private val ANY = 0..Int.MAX_VALUE
private val ONE_OR_MORE = 1..Int.MAX_VALUE
private const val MOST_THERMAL = 6L
private const val ALL_PERCENT = 100L

/** By how much stages may exceed their run, and a run the next one's begin: each is rounded for itself. */
private const val ROUNDING_MS = 1.0
private val STAGES = COMPONENTS + Timings.LOADING

internal fun Node.readResult(): RunResult = members {
    default("version", Unit) { it.long(RunRequest.VERSION.toLong(), RunRequest.VERSION.toLong()) }
    val found = RunResult(
        id = get("id").text(),
        bundleSha256 = get("bundle_sha256").pattern(SHA256, DIGITS),
        mode = get("mode").choice(MODES),
        seed = get("seed").seed(),
        steps = get("steps").steps(),
        app = get("app").members { AppVersions(get("app").text(), words("executorch"), words("qnn")) },
        problem = words("problem"),
        begin = get("begin").readClock(),
        end = get("end").readClock(),
        before = get("before").readConditions(),
        after = get("after").readConditions(),
        load = default("load", emptyList()) { it.list(ANY) { one -> one.readLoad() } },
        samples = default("samples", emptyList()) { it.list(ANY) { one -> one.readSample() } },
        peakPssBytes = optional("peak_pss_bytes") { it.long(0) },
        picture = optional("picture") {
            it.members { OutputPicture(get("file").pattern(FILE_NAME, "a plain file name"), get("sha256").pattern(SHA256, DIGITS)) }
        },
    )
    if (found.problem == null) wholeness(found).forEach(::problem)
    found
}

private fun Fields.words(key: String): String? = optional(key) { it.text() }

private fun Node.readClock() = members { ClockReading(get("monotonic_ms").atLeast(0.0), get("wall_ms").double()) }

private fun Node.readConditions() = members {
    Conditions(
        thermalStatus = optional("thermal_status") { it.long(0, MOST_THERMAL).toInt() },
        headroom = optional("headroom") { it.atLeast(0.0) },
        charging = optional("charging") { it.truth() },
        batteryPercent = optional("battery_percent") { it.long(0, ALL_PERCENT).toInt() },
        batteryCelsius = optional("battery_celsius") { it.double() },
    )
}

private fun Node.readLoad() = members { LoadTime(get("component").text(), get("method").text(), get("ms").atLeast(0.0)) }

private fun Node.readSample() = members {
    val found = Sample(
        kind = get("kind").choice(KINDS),
        beginMs = get("begin_ms").atLeast(0.0),
        totalMs = get("total_ms").above(0.0),
        stages = get("stages").map(0) { _, value -> value.atLeast(0.0) },
        stepsMs = get("steps_ms").list(ONE_OR_MORE) { it.atLeast(0.0) },
        conditions = get("conditions").readConditions(),
        cpuKhz = optional("cpu_khz") { it.list(ANY) { clock -> clock.long(0) } },
    )
    for (name in found.stages.keys - STAGES.toSet()) problem("stage '$name' is not one of ${STAGES.joinToString()}")
    for ((what, parts) in listOf("stages" to found.stages.values, "steps" to found.stepsMs)) {
        if (parts.sum() > found.totalMs + ROUNDING_MS) problem("$what take ${parts.sum()} ms of a run of ${found.totalMs} ms")
    }
    found
}

/** What a result without a problem must hold besides. */
private fun wholeness(result: RunResult): List<String> = buildList {
    val kinds = result.samples.map { it.kind }
    if (kinds != kinds.sorted() || kinds.count { it == Kind.FIRST } != 1) {
        add("samples are one first run, then warm-up runs, then timed runs")
    }
    if (Kind.TIMED !in kinds || result.picture == null || result.load.isEmpty()) {
        add("load times, a timed run or the picture is missing")
    }
    if (result.samples.any { it.stepsMs.size != result.steps }) add("a run has other than ${result.steps} steps")
    if (result.samples.zipWithNext().any { (one, two) -> one.beginMs + one.totalMs > two.beginMs + ROUNDING_MS }) add("runs overlap")
}
