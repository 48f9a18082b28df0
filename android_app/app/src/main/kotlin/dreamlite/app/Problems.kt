package dreamlite.app

import dreamlite.app.model.Notice
import dreamlite.core.BundleException
import dreamlite.core.ComponentException
import dreamlite.core.ImageException
import java.util.concurrent.CancellationException

/** What went wrong, in the words of the screens; the library's message says the rest. */
object Problems {
    /** [usual]: what it is where nothing better is known. Errors that are not ours to catch go on. */
    fun of(error: Throwable, usual: Notice.Kind): Notice = when (error) {
        is CancellationException -> Notice(Notice.Kind.STOPPED)
        is ComponentException -> Notice(Notice.of(error.fault), error.message.orEmpty())
        is BundleException -> Notice(Notice.Kind.BAD_BUNDLE, error.message.orEmpty())
        is ImageException -> Notice(Notice.Kind.BAD_PICTURE, error.message.orEmpty())
        is OutOfMemoryError -> Notice(Notice.Kind.OUT_OF_MEMORY, error.message.orEmpty())
        is Exception -> Notice(usual, error.message ?: error.toString())
        else -> throw error
    }
}
