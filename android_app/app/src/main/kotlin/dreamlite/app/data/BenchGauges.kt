package dreamlite.app.data

import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.Debug
import android.os.PowerManager
import android.os.SystemClock
import dreamlite.core.Picture
import dreamlite.core.bench.Conditions
import dreamlite.core.bench.Gauges
import dreamlite.core.bench.PictureFiles
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import kotlin.io.path.Path
import kotlin.io.path.listDirectoryEntries

/** Clocks, heat, battery and memory of this phone, as a benchmark asks for them. */
class BenchGauges(private val context: Context, private val freeMemory: () -> Long) : Gauges {
    private val power = context.service<PowerManager>()

    override fun monotonicNanos(): Long = SystemClock.elapsedRealtimeNanos()

    override fun wallMillis(): Long = System.currentTimeMillis()

    override fun conditions(): Conditions {
        // Sticky: the last broadcast is the answer, nothing is registered.
        val battery = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        fun told(key: String) = battery?.getIntExtra(key, -1)?.takeIf { it >= 0 }
        val level = told(BatteryManager.EXTRA_LEVEL)
        val scale = told(BatteryManager.EXTRA_SCALE)?.takeIf { it > 0 }
        return Conditions(
            thermalStatus = power.currentThermalStatus,
            headroom = headroom(),
            charging = told(BatteryManager.EXTRA_PLUGGED)?.let { it != 0 },
            batteryPercent = if (level != null && scale != null) (100 * level / scale).coerceIn(0, 100) else null,
            batteryCelsius = battery?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, Int.MIN_VALUE)
                ?.takeIf { it != Int.MIN_VALUE }?.let { it / 10.0 },
        )
    }

    override fun cpuKhz(): List<Long>? = try {
        val policies = Path(CPU_POLICIES).listDirectoryEntries()
            .filter { it.fileName.toString().startsWith("policy") }.sortedBy { it.fileName.toString().removePrefix("policy").toInt() }
        policies.map { String(Files.readAllBytes(it.resolve("scaling_cur_freq"))).trim().toLong() }.ifEmpty { null }
    } catch (_: IOException) {
        null
    } catch (_: RuntimeException) {
        null
    }

    override fun pssBytes(): Long? = Debug.getPss().takeIf { it > 0 }?.let { it * KILOBYTE }

    override fun availableBytes(): Long = freeMemory()

    private fun headroom(): Double? = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
        power.getThermalHeadroom(0).toDouble().takeIf { it.isFinite() && it >= 0 }
    } else {
        null
    }

    private companion object {
        const val CPU_POLICIES = "/sys/devices/system/cpu/cpufreq"
        const val KILOBYTE = 1024L
    }
}

/** Pictures of a benchmark: whole size in, lossless out. */
object BenchPictures : PictureFiles {
    override fun read(file: Path): Picture = Photos.read(file)

    override fun png(picture: Picture): ByteArray = Png.encode(picture)
}
