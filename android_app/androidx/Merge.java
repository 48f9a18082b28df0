import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipInputStream;
import java.util.zip.ZipOutputStream;

/**
 * java Merge.java TARGET: what lies in TARGET/libraries becomes classes (TARGET/classes), compiled resources (TARGET/res) and
 * the list of their packages (TARGET/packages); TARGET/tools gets aapt2 and the framework's resources in a form it reads.
 */
final class Merge {
    private static final Pattern PACKAGE = Pattern.compile("package=\"([^\"]*)\"");

    public static void main(String[] arguments) throws Exception {
        Path target = Path.of(arguments[0]);
        Path tools = target.resolve("tools");
        Path aapt = tools.resolve("aapt2_64");
        Files.write(aapt, entry(tools.resolve("apktool-lib.jar"), "prebuilt/linux/aapt2_64"));
        aapt.toFile().setExecutable(true);
        storeFramework(tools.resolve("android-all.jar"), tools.resolve("framework.apk"));
        Files.createDirectories(target.resolve("res"));
        TreeSet<String> packages = new TreeSet<>();
        for (Path library : files(target.resolve("libraries"))) {
            String name = library.getFileName().toString();
            if (name.endsWith(".aar")) addAar(target, library, name, packages);
            else addClasses(Files.newInputStream(library), target.resolve("classes"));
        }
        Files.write(target.resolve("packages"), packages);
    }

    private static void addAar(Path target, Path library, String name, TreeSet<String> packages) throws Exception {
        try (ZipFile zip = new ZipFile(library.toFile())) {
            addClasses(zip.getInputStream(zip.getEntry("classes.jar")), target.resolve("classes"));
            ZipEntry names = zip.getEntry("R.txt");
            if (names != null && names.getSize() > 0) packages.add(packageOf(zip));
            Path unpacked = target.resolve("unpacked").resolve(name);
            boolean any = false;
            for (ZipEntry entry : zip.stream().filter(e -> e.getName().startsWith("res/") && !e.isDirectory()).toList()) {
                write(zip.getInputStream(entry), unpacked.resolve(entry.getName()));
                any = true;
            }
            if (any) compile(target, unpacked.resolve("res"), target.resolve("res/" + name + ".zip"));
        }
    }

    private static String packageOf(ZipFile zip) throws IOException {
        String manifest = new String(zip.getInputStream(zip.getEntry("AndroidManifest.xml")).readAllBytes());
        Matcher matcher = PACKAGE.matcher(manifest);
        if (!matcher.find()) throw new IOException(zip.getName() + ": AndroidManifest.xml names no package");
        return matcher.group(1);
    }

    private static void compile(Path target, Path folder, Path out) throws Exception {
        List<String> command = new ArrayList<>(List.of(target.resolve("tools/aapt2_64").toString()));
        command.addAll(List.of("compile", "--dir", folder.toString(), "-o", out.toString()));
        if (new ProcessBuilder(command).inheritIO().start().waitFor() != 0) throw new IOException("aapt2 cannot compile " + folder);
    }

    private static void addClasses(InputStream jar, Path classes) throws IOException {
        try (ZipInputStream zip = new ZipInputStream(jar)) {
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                String name = entry.getName();
                boolean kept = !entry.isDirectory() && !name.equals("META-INF/MANIFEST.MF") && !name.startsWith("META-INF/versions/");
                if (kept) write(zip, classes.resolve(name));
            }
        }
    }

    private static void write(InputStream bytes, Path path) throws IOException {
        Files.createDirectories(path.getParent());
        Files.copy(bytes, path, StandardCopyOption.REPLACE_EXISTING);
    }

    /** android-all keeps the resource table unaligned, where aapt2 cannot map it: stored anew. */
    private static void storeFramework(Path jar, Path out) throws IOException {
        try (ZipOutputStream zip = new ZipOutputStream(Files.newOutputStream(out))) {
            for (String name : List.of("AndroidManifest.xml", "resources.arsc")) {
                byte[] bytes = entry(jar, name);
                CRC32 sum = new CRC32();
                sum.update(bytes);
                ZipEntry stored = new ZipEntry(name);
                stored.setMethod(ZipEntry.STORED);
                stored.setSize(bytes.length);
                stored.setCrc(sum.getValue());
                zip.putNextEntry(stored);
                zip.write(bytes);
                zip.closeEntry();
            }
        }
    }

    private static byte[] entry(Path jar, String name) throws IOException {
        try (ZipFile zip = new ZipFile(jar.toFile())) {
            return zip.getInputStream(zip.getEntry(name)).readAllBytes();
        }
    }

    private static List<Path> files(Path folder) throws IOException {
        try (Stream<Path> paths = Files.list(folder)) {
            return paths.filter(path -> !path.toString().endsWith(File.separator)).sorted().toList();
        }
    }
}
