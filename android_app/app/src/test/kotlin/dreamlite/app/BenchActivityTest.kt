package dreamlite.app

import android.content.Intent
import android.os.Looper
import dreamlite.core.MANIFEST_NAME
import dreamlite.core.sha256
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.TimeUnit
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** The entry for `dreamlite bench`; what it writes is judged by core's tests and the host's own checks. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApp::class)
class BenchActivityTest {
    private val application = RuntimeEnvironment.getApplication()
    private val out: Path = application.getExternalFilesDir(null)!!.toPath().resolve("bench/run-1")

    private fun start(request: Path?): BenchActivity {
        val intent = Intent(application, BenchActivity::class.java)
        if (request != null) intent.putExtra("request", request.toString())
        return Robolectric.buildActivity(BenchActivity::class.java, intent).setup().get()
    }

    private fun await(activity: BenchActivity) {
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(180)
        while (!activity.isFinishing) {
            check(System.nanoTime() < end) { "not done within 180 s" }
            shadowOf(Looper.getMainLooper()).idle()
            Thread.sleep(10)
        }
    }

    private fun request(bundle: String, out: Path): Path {
        val digest = sha256(exportedBundle().resolve(MANIFEST_NAME))
        val text = """{"version": 1, "id": "run-1", "bundle": "$bundle", "bundle_sha256": "$digest", "mode": "generate",
            "prompt": "a red circle", "picture": null, "seed": 3, "steps": 2, "warm_up": 0, "runs": 1, "sustain_s": null,
            "threads": 1, "out": "$out"}"""
        return Files.writeString(Files.createTempDirectory("request").resolve("request.json"), text)
    }

    @Test
    fun `a request is answered, the marker last`() {
        await(start(request(exportedBundle().toString(), out)))
        assertEquals(sha256(out.resolve("result.json")), Files.readString(out.resolve("done")))
        val result = Files.readString(out.resolve("result.json"))
        assertTrue("\"problem\": null" in result || "\"problem\":null" in result, result)
        assertTrue(Files.size(out.resolve("picture.png")) > 500)
        val counting = ((application as TestApp).parts as TestParts).counting
        assertEquals(counting.opened.get(), counting.closed.get())
    }

    @Test
    fun `a bundle that is not there is an answer too`() {
        await(start(request("/data/local/tmp/dreamlite/bundles/none", out)))
        assertTrue("no such folder" in Files.readString(out.resolve("result.json")))
        assertTrue(Files.exists(out.resolve("done")))
    }

    @Test
    fun `nothing is written outside of the app's folder`() {
        val elsewhere = Files.createTempDirectory("elsewhere").resolve("run-1")
        await(start(request(exportedBundle().toString(), elsewhere)))
        assertFalse(Files.exists(elsewhere))
        await(start(null))
    }
}
