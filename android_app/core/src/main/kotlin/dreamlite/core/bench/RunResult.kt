package dreamlite.core.bench

import dreamlite.core.Json
import dreamlite.core.Mode

/** How the phone is; null where it does not say. [headroom]: `PowerManager.getThermalHeadroom`, 1 is throttling. */
public data class Conditions(
    val thermalStatus: Int? = null,
    val headroom: Double? = null,
    val charging: Boolean? = null,
    val batteryPercent: Int? = null,
    val batteryCelsius: Double? = null,
) {
    internal fun tree() = members(
        "thermal_status" to json(thermalStatus),
        "headroom" to json(headroom),
        "charging" to json(charging),
        "battery_percent" to json(batteryPercent),
        "battery_celsius" to json(batteryCelsius),
    )
}

/** Both clocks at one moment; [wallMs] alone is the time of day. */
public data class ClockReading(val monotonicMs: Double, val wallMs: Double) {
    internal fun tree() = members("monotonic_ms" to json(monotonicMs), "wall_ms" to json(wallMs))
}

/** Reading one method of a component and making it ready, before its first run. */
public data class LoadTime(val component: String, val method: String, val ms: Double) {
    internal fun tree() = members("component" to json(component), "method" to json(method), "ms" to json(ms))
}

/** Which runs a sample is of, in the order they run. */
public enum class Kind(public val key: String) {
    FIRST("first"),
    WARM_UP("warm_up"),
    TIMED("timed"),
}

/**
 * One picture from prompt to pixels. [beginMs] on the monotonic clock; [stages]: in the components, by name, and in
 * `loading` where memory holds only one at a time. What is in [totalMs] and in no stage is the app's own work.
 */
public data class Sample(
    val kind: Kind,
    val beginMs: Double,
    val totalMs: Double,
    val stages: Map<String, Double>,
    val stepsMs: List<Double>,
    val conditions: Conditions,
    val cpuKhz: List<Long>?,
) {
    internal fun tree() = members(
        "kind" to json(kind.key),
        "begin_ms" to json(beginMs),
        "total_ms" to json(totalMs),
        "stages" to Json.Members(stages.mapValues { json(it.value) }),
        "steps_ms" to elements(stepsMs, ::json),
        "conditions" to conditions.tree(),
        "cpu_khz" to (cpuKhz?.let { elements(it, ::json) } ?: Json.Null),
    )
}

/** What ran: the app itself and the runtimes inside. */
public data class AppVersions(val app: String, val executorch: String? = null, val qnn: String? = null) {
    internal fun tree() = members("app" to json(app), "executorch" to json(executorch), "qnn" to json(qnn))
}

/** The PNG of the first run, in the request's `out`. */
public data class OutputPicture(val file: String, val sha256: String)

/**
 * Everything one process of the app measured, samples in the order they ran; or [problem], why it could not, and no
 * samples. `dreamlite_mobile/device/schema.py` is the other side of it.
 */
public data class RunResult(
    val id: String,
    val bundleSha256: String,
    val mode: Mode,
    val seed: ULong,
    val steps: Int,
    val app: AppVersions,
    val problem: String?,
    val begin: ClockReading,
    val end: ClockReading,
    val before: Conditions,
    val after: Conditions,
    val load: List<LoadTime> = emptyList(),
    val samples: List<Sample> = emptyList(),
    val peakPssBytes: Long? = null,
    val picture: OutputPicture? = null,
) {
    /** As JSON, equal to what Python writes. */
    public fun toJson(): String = jsonText(
        members(
            "version" to json(RunRequest.VERSION),
            "id" to json(id),
            "bundle_sha256" to json(bundleSha256),
            "mode" to json(mode.key),
            "seed" to json(seed),
            "steps" to json(steps),
            "app" to app.tree(),
            "problem" to json(problem),
            "begin" to begin.tree(),
            "end" to end.tree(),
            "before" to before.tree(),
            "after" to after.tree(),
            "load" to elements(load) { it.tree() },
            "samples" to elements(samples) { it.tree() },
            "peak_pss_bytes" to json(peakPssBytes),
            "picture" to (picture?.let { members("file" to json(it.file), "sha256" to json(it.sha256)) } ?: Json.Null),
        ),
    )

    public companion object {
        /**
         * Reads a result strictly.
         *
         * @throws dreamlite.core.ConfigException listing everything that is wrong.
         */
        public fun read(bytes: ByteArray): RunResult = readDocument("result.json", bytes) { it.readResult() }
    }
}
