import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * java Resources.java SRC ANDROIDX OUT VERSION: the app's resources (SRC/main/res, SRC/xnnpack/res) linked with its libraries'
 * into OUT/resources.apk, R classes into OUT/gen. The manifest gets what Gradle would put in: package, placeholders.
 */
final class Resources {
    private static final String ID = "dreamlite.app";

    public static void main(String[] arguments) throws Exception {
        Path source = Path.of(arguments[0]);
        Path androidx = Path.of(arguments[1]);
        Path out = Path.of(arguments[2]);
        String aapt = androidx.resolve("tools/aapt2_64").toString();
        Files.createDirectories(out.resolve("gen"));
        String manifest = Files.readString(source.resolve("main/AndroidManifest.xml"))
                .replaceFirst("<manifest ", "<manifest package=\"" + ID + "\" ").replace("${applicationId}", ID);
        Files.writeString(out.resolve("AndroidManifest.xml"), manifest);
        List<String> link = new ArrayList<>(List.of(aapt, "link", "-I", androidx.resolve("tools/framework.apk").toString()));
        link.addAll(List.of("--manifest", out.resolve("AndroidManifest.xml").toString(), "--auto-add-overlay"));
        link.addAll(List.of("--min-sdk-version", "29", "--target-sdk-version", "35", "--debug-mode"));
        link.addAll(List.of("--version-code", "1", "--version-name", arguments[3]));
        link.addAll(List.of("--java", out.resolve("gen").toString(), "-o", out.resolve("resources.apk").toString()));
        link.addAll(List.of("--extra-packages", String.join(":", Files.readAllLines(androidx.resolve("packages")))));
        try (Stream<Path> libraries = Files.list(androidx.resolve("res"))) {
            libraries.sorted().forEach(path -> link.addAll(List.of("-R", path.toString())));
        }
        for (String set : List.of("main", "xnnpack")) {
            Path compiled = out.resolve("res-" + set + ".zip");
            run(List.of(aapt, "compile", "--dir", source.resolve(set + "/res").toString(), "-o", compiled.toString()));
            link.addAll(List.of("-R", compiled.toString()));
        }
        run(link);
    }

    private static void run(List<String> command) throws Exception {
        if (new ProcessBuilder(command).inheritIO().start().waitFor() != 0) {
            throw new IOException("failed: " + String.join(" ", command));
        }
    }
}
