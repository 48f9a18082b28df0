package dreamlite.app.data

import android.app.ActivityManager
import android.content.Context
import android.os.Build
import android.os.PowerManager
import android.os.StatFs
import android.system.ErrnoException
import android.system.Os
import android.util.Log
import dreamlite.app.model.PhoneFacts
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow

/** A part of Android that every phone has. */
inline fun <reified T : Any> Context.service(): T = checkNotNull(getSystemService(T::class.java))

/** Where the NPU finds its half of the QNN runtime: among the app's libraries. Before anything of QNN is loaded. */
fun tellDsp(libraries: String) {
    try {
        Os.setenv("ADSP_LIBRARY_PATH", libraries, true)
    } catch (error: ErrnoException) {
        Log.w("DreamLite", "the NPU may not find its libraries", error)
    }
}

/** What the phone is and how it is now. */
class Phone(private val context: Context) {
    private val power = context.service<PowerManager>()
    private val activities = context.service<ActivityManager>()
    private val told = MutableStateFlow(power.currentThermalStatus)

    init {
        power.addThermalStatusListener { told.value = it }
    }

    /** Thermal status, 0 none to 6 shutdown. */
    val heat: StateFlow<Int> get() = told

    /** The chip's name as Qualcomm and others print it, from Android 12 on. */
    val soc: String? = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) Build.SOC_MODEL.takeIf { it != Build.UNKNOWN } else null

    fun freeStorage(): Long = StatFs(context.filesDir.path).availableBytes

    fun totalMemory(): Long = memory().totalMem

    /** Until Android ends processes. */
    fun freeMemory(): Long = memory().run { availMem - threshold }.coerceAtLeast(0)

    fun facts() = PhoneFacts(
        model = "${Build.MANUFACTURER} ${Build.MODEL}",
        soc = soc,
        android = "${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})",
        totalMemory = totalMemory(),
        freeMemory = freeMemory(),
        freeStorage = freeStorage(),
        heat = heat.value,
        headroom = headroom(),
    )

    private fun headroom(): Float? =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) power.getThermalHeadroom(0).takeIf { it.isFinite() } else null

    private fun memory() = ActivityManager.MemoryInfo().also(activities::getMemoryInfo)
}
