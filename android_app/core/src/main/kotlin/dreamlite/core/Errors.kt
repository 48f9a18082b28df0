package dreamlite.core

/** Every refusal of this library: what was found, what is supported, the mend. Messages are made for people. */
public sealed class DreamLiteException(message: String, cause: Throwable? = null) : Exception(message, cause)

/** A value or option that is not supported: seed, steps, size. */
public class ConfigException(message: String) : DreamLiteException(message)

/** A prompt or tokenizer that cannot be used. */
public class PromptException(message: String, cause: Throwable? = null) : DreamLiteException(message, cause)

/** A picture that cannot be used. */
public class ImageException(message: String) : DreamLiteException(message)

/** A bundle that is missing, damaged, unsafe or made for something else. */
public class BundleException(message: String, cause: Throwable? = null) : DreamLiteException(message, cause)

/** A component that could not be loaded or run; [fault] names why. */
public class ComponentException(public val fault: Fault, message: String, cause: Throwable? = null) : DreamLiteException(message, cause)

/** Why a component failed, for an app that answers each in its own words. */
public enum class Fault {
    /** Compiled for another chip than this phone's. */
    WRONG_SOC,

    /** The QNN runtime on the phone is older than the compiler that made the program. */
    QNN_TOO_OLD,

    /** Not enough memory to load or run. */
    OUT_OF_MEMORY,

    /** The program needs an operator or backend that the app's runtime was built without. */
    MISSING_OPERATOR,

    /** The file is not a program, is damaged, or its methods differ from the manifest. */
    BAD_PROGRAM,

    /** Anything else; the message carries the runtime's own words. */
    OTHER,
}

internal fun unknownName(kind: String, found: String, known: Collection<String>): String =
    "unknown $kind '$found'; known: ${known.sorted().joinToString()}"
