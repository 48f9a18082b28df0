package dreamlite.app

import android.app.Application
import dreamlite.app.data.tellDsp

open class DreamLiteApp : Application() {
    val parts: Parts by lazy { makeParts() }

    protected open fun makeParts() = Parts(this)

    override fun onCreate() {
        super.onCreate()
        if (getString(R.string.qnn_version).isNotEmpty()) tellDsp(applicationInfo.nativeLibraryDir)
    }

    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        parts.trim(level)
    }
}
