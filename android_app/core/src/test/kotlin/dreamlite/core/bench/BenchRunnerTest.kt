package dreamlite.core.bench

import dreamlite.core.ComponentException
import dreamlite.core.ConfigException
import dreamlite.core.FakeFactory
import dreamlite.core.Fault
import dreamlite.core.Mode
import dreamlite.core.PictureSize
import dreamlite.core.componentsOf
import dreamlite.core.memoryEstimate
import dreamlite.core.sha256
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.io.TempDir
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** What the bench entry answers, over components that compute nothing. The numbers of real ones are for executorch's BenchTest. */
class BenchRunnerTest {
    @TempDir
    lateinit var folder: Path

    private fun bench(factory: FakeFactory = FakeFactory(), gauges: FakeGauges = FakeGauges()) = BenchBench(folder, factory, gauges)

    @Test
    fun `a request to generate is answered with picture, result and marker`() = assertAnswered(Mode.GENERATE)

    @Test
    fun `a request to edit is answered likewise`() = assertAnswered(Mode.EDIT)

    private fun assertAnswered(mode: Mode) = runBlocking {
        val factory = FakeFactory()
        val bench = bench(factory)
        val request = bench.request(mode)
        val told = ArrayList<Sample>()
        val result = bench.run(request, told::add)
        assertEquals(result, bench.answer(request))
        assertEquals(result.samples, told)
        assertEquals(listOf(Kind.FIRST, Kind.WARM_UP, Kind.TIMED, Kind.TIMED, Kind.TIMED), told.map { it.kind })
        assertEquals(componentsOf(mode), result.load.map { it.component })
        assertEquals(setOf(mode.key, "forward"), result.load.map { it.method }.toSet())
        assertTrue(told.all { it.stages.keys == componentsOf(mode).toSet() && it.stepsMs.size == 2 })
        assertEquals(listOf<Int?>(4), bench.threads)
        val png = Path.of(request.out).resolve(result.picture!!.file)
        assertEquals(sha256(png), result.picture.sha256)
        assertEquals(64 to 64, ImageFiles.read(png).let { it.width to it.height })
        assertEquals(factory.opened.sorted(), factory.closed.sorted())
    }

    @Test
    fun `a request for one of several sizes loads and draws that one`() = runBlocking {
        val bench = BenchBench(folder, FakeFactory(), FakeGauges(), sized = true)
        val size = bench.open().manifest.sizes.last().sides
        val request = bench.request().copy(size = size)
        val result = bench.run(request)
        assertEquals(listOf("generate", "generate_$size", "forward_$size"), result.load.map { it.method })
        val picture = ImageFiles.read(Path.of(request.out).resolve(result.picture!!.file))
        assertEquals(size, PictureSize(picture.width, picture.height))
    }

    @Test
    fun `a request without a size is of the first one, also for an edit of a picture shaped like another`() = runBlocking {
        val bench = BenchBench(folder, FakeFactory(), FakeGauges(), sized = true)
        val first = bench.open().manifest.size.sides
        val request = bench.request(Mode.EDIT)
        val result = bench.run(request)
        assertEquals(first, ImageFiles.read(Path.of(request.out).resolve(result.picture!!.file)).size)
        assertTrue(result.load.none { "_" in it.method }, "${result.load}")
    }

    @Test
    fun `everything is loaded before the first run, and its time is not the run's`() = runBlocking {
        val bench = bench(FakeFactory { _, _, _ -> Thread.sleep(2) })
        val result = bench.run(bench.request())
        val loaded = result.load.sumOf { it.ms }
        assertTrue(result.samples.first().beginMs >= result.begin.monotonicMs + loaded)
        assertTrue(result.samples.all { it.totalMs >= it.stages.values.sum() && it.stages.values.all { ms -> ms >= 2.0 } })
        assertTrue(result.samples.zipWithNext().all { (one, two) -> one.beginMs + one.totalMs <= two.beginMs })
    }

    @Test
    fun `memory is never weighed inside of a timed run`() = runBlocking {
        val gauges = FakeGauges()
        val weighed = ArrayList<Int>()
        val bench = bench(FakeFactory { _, _, _ -> weighed += gauges.asked.count { it == "pss" } }, gauges)
        val result = bench.run(bench.request())
        // generate calls four components of two steps: first run, warm-up, three timed ones
        val byRun = weighed.chunked(4).map { it.toSet().size }
        assertEquals(listOf(1, 3, 1, 1, 1), byRun)
        assertEquals(1000L + gauges.asked.count { it == "pss" } - 1, result.peakPssBytes)
    }

    @Test
    fun `runs go on for as long as asked`() = runBlocking {
        val gauges = FakeGauges()
        val bench = bench(FakeFactory { name, _, _ -> if (name == "unet") gauges.ahead += 500_000_000L }, gauges)
        val result = bench.run(bench.request().copy(sustainS = 8.0, warmUp = 0, runs = 2))
        // a run takes a second of this clock
        assertTrue(result.samples.last().let { it.beginMs + it.totalMs } - result.samples.first().beginMs >= 8000.0)
        assertEquals(8, result.samples.size)
    }

    @Test
    fun `a phone that holds one component at a time says what loading again takes`() = runBlocking {
        val factory = FakeFactory()
        val memory = bench().open().manifest.memoryEstimate(Mode.GENERATE).let { (it.all + it.largest) / 2 }
        val result = bench(factory, FakeGauges(memory)).let { it.run(it.request()) }
        assertTrue(result.samples.all { "loading" in it.stages })
        assertTrue(factory.opened.count { it == "unet" } > result.samples.size)
    }

    @Test
    fun `what cannot be done is answered with its reason and no samples`() = runBlocking {
        val bench = bench(FakeFactory { name, _, _ -> if (name == "unet") throw ComponentException(Fault.OUT_OF_MEMORY, "no memory") })
        val good = bench.request(Mode.EDIT)
        val refusals = mapOf(
            good.copy(bundleSha256 = "0".repeat(64)) to "is another bundle",
            good.copy(bundle = "/no/bundle") to "no such folder",
            good.copy(size = PictureSize(64, 96)) to "made for 64x64, not for 64x96",
            good.copy(picture = PhoneFile(good.picture!!.file, "0".repeat(64))) to "expected 0000",
            good.copy(picture = PhoneFile("/no/picture.png", "0".repeat(64))) to "cannot be read",
            good.copy(picture = PhoneFile("${bench.bundle}/manifest.json", good.bundleSha256)) to "is no picture",
            good to "no memory",
        )
        for ((request, reason) in refusals) {
            val result = bench.run(request)
            assertContains(result.problem.orEmpty(), reason)
            assertEquals(result, bench.answer(request))
            assertTrue(result.samples.isEmpty() && result.load.isEmpty() && result.picture == null)
        }
    }

    @Test
    fun `a phone without the memory says how much is needed`() = runBlocking {
        val bench = bench(gauges = FakeGauges(memory = 1))
        assertContains(bench.run(bench.request()).problem.orEmpty(), "MB of memory even with one component at a time")
    }

    @Test
    fun `errors that are nobody's are answered too`() = runBlocking {
        for ((error, said) in mapOf(IllegalStateException("odd") to "odd", OutOfMemoryError("heap") to "not enough memory")) {
            val bench = bench(FakeFactory { _, _, _ -> throw error })
            assertContains(bench.run(bench.request()).problem.orEmpty(), said)
        }
    }

    @Test
    fun `nothing is written outside of the app's own folders`() = runBlocking {
        val bench = bench()
        for (out in listOf("$folder/elsewhere", "${bench.roots}", "${bench.roots}/../elsewhere", "${bench.roots}-2/a")) {
            val error = assertFailsWith<ConfigException> { bench.run(bench.request().copy(out = out)) }
            assertContains(error.message!!, "where this app may write")
        }
        assertFalse(Files.exists(folder.resolve("elsewhere")) || Files.exists(bench.roots))
    }

    @Test
    fun `a request that cannot be read is refused before anything is written`() = runBlocking {
        val bench = bench()
        assertFailsWith<ConfigException> { bench.runFile(bench.request().toJson().replace("\"version\": 1", "\"version\": 2")) }
        assertFalse(Files.exists(bench.roots))
    }

    @Test
    fun `a cancelled run leaves no marker, nor the one of an earlier run`() = runBlocking {
        val bench = bench()
        bench.run(bench.request())
        val job = launch { bench.run(bench.request()) { throw CancellationException("enough") } }
        job.join()
        assertTrue(job.isCancelled)
        assertFalse(Files.exists(Path.of(bench.request().out).resolve("done")))
    }

    @Test
    fun `answers for Python's own checks`() = runBlocking {
        // tests/test_android_build.py reads them from there
        val kept = Path.of("target/bench").also { it.toFile().deleteRecursively() }.toAbsolutePath()
        val bench = BenchBench(Files.createDirectories(kept), FakeFactory { _, _, _ -> Thread.sleep(1) })
        val requests = Mode.entries.map { bench.request(it) } + bench.request(id = "refused").copy(bundleSha256 = "0".repeat(64))
        for (request in requests) {
            assertEquals(request.id == "refused", bench.run(request).problem != null)
            Files.writeString(Path.of(request.out).resolve("request.json"), request.toJson())
        }
        assertNull(bench.answer(requests.first()).problem)
    }
}
