package dreamlite.core

import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock

/**
 * An opened bundle, ready to draw: its components by name, loaded when first needed, freed by [close].
 *
 * One run at a time; a second one waits. [close] and [trim] may be called from any thread at any time: while a run
 * goes on, they take effect when it can spare what they free.
 */
public class Session(public val bundle: Bundle, private val factory: ComponentFactory, residency: Residency = Residency.KEEP_ALL) :
    AutoCloseable {
    private val turn = Mutex()
    private val loaded = LinkedHashMap<String, Component>()
    private var frugal = residency == Residency.ONE_AT_A_TIME
    private var running = false
    private var closed = false
    private var trimming = false

    /** Names of the components that are loaded now. */
    public val resident: Set<String> @Synchronized get() = loaded.keys.toSet()

    /** Frees what is loaded, now or at the end of the run that needs it; the session loads again when it is used. */
    @Synchronized
    public fun trim() {
        if (running) trimming = true else release()
    }

    /** Frees everything; a run that goes on is cancelled by its collector, not by this, and frees at its end. */
    @Synchronized
    override fun close() {
        closed = true
        if (!running) release()
    }

    /** Has the session to itself while [work] runs. */
    internal suspend fun <T> alone(work: suspend () -> T): T = turn.withLock {
        begin()
        var whole = false
        try {
            work().also { whole = true }
        } finally {
            end(whole)
        }
    }

    /** The component, loaded if it is not there; where memory is short the others go first. */
    @Synchronized
    internal fun component(name: String): Component {
        loaded[name]?.let { return it }
        if (frugal || trimming) release()
        return factory.open(bundle, name).also { loaded[name] = it }
    }

    @Synchronized
    private fun begin() {
        if (closed) throw BundleException("${bundle.path}: this session is closed; open the bundle again")
        running = true
    }

    /** After a failure or a cancellation nothing is trusted to be whole: what is loaded goes. */
    @Synchronized
    private fun end(whole: Boolean) {
        running = false
        if (closed || trimming || !whole) release()
        trimming = false
    }

    /** Every component is closed, even where closing one fails. */
    private fun release() {
        val failures = loaded.values.mapNotNull { runCatching { it.close() }.exceptionOrNull() }
        loaded.clear()
        failures.firstOrNull()?.let { throw it }
    }
}
