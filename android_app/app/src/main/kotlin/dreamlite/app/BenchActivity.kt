package dreamlite.app

import android.os.Bundle
import android.util.Log
import android.view.WindowManager
import androidx.activity.ComponentActivity
import androidx.lifecycle.lifecycleScope
import dreamlite.app.data.BenchGauges
import dreamlite.app.data.BenchPictures
import dreamlite.core.DreamLiteException
import dreamlite.core.bench.AppVersions
import dreamlite.core.bench.BenchRunner
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.IOException
import java.nio.file.Path
import kotlin.io.path.Path

/**
 * `adb shell am start -n dreamlite.app/dreamlite.app.BenchActivity --es request PATH`: answers one request of `dreamlite bench`
 * and ends. Shows nothing; keeps the screen on, because a phone that sleeps is slow. Only the shell may start it.
 */
class BenchActivity : ComponentActivity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        val request = intent.getStringExtra(REQUEST)
        if (request == null) {
            Log.e(TAG, "no request: start it with --es $REQUEST PATH")
            return finish()
        }
        lifecycleScope.launch {
            answer(Path(request))
            finish()
        }
    }

    private suspend fun answer(request: Path) {
        val parts = (application as DreamLiteApp).parts
        val runner = BenchRunner(versions(parts), BenchGauges(this, parts::freeMemory), BenchPictures, parts::components, outRoots())
        try {
            withContext(parts.work) { runner.run(request) { Log.i(TAG, "${it.kind.key}: ${it.totalMs} ms") } }
        } catch (error: DreamLiteException) {
            Log.e(TAG, error.message, error)
        } catch (error: IOException) {
            Log.e(TAG, "the answer cannot be written: $error", error)
        }
    }

    private fun versions(parts: Parts) = AppVersions(
        app = packageManager.getPackageInfo(packageName, 0).versionName ?: "unknown",
        executorch = parts.runtime.executorch,
        qnn = parts.runtime.qnn,
    )

    /** The app's own folder, under both names that it has. */
    private fun outRoots(): List<Path> = listOfNotNull(
        getExternalFilesDir(null)?.toPath()?.resolve(OUT),
        Path("/sdcard/Android/data/$packageName/files/$OUT"),
    )

    private companion object {
        const val REQUEST = "request"
        const val OUT = "bench"
        const val TAG = "DreamLiteBench"
    }
}
