package dreamlite.app

import android.app.Application

open class DreamLiteApp : Application() {
    val parts: Parts by lazy { makeParts() }

    protected open fun makeParts() = Parts(this)

    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        parts.trim(level)
    }
}
