// The npm packages that the checks of examples/browser need, in target/node. Exits with 1 if one is missing or
// has another version; `--install` installs them.

const { execFileSync } = require("node:child_process");

const PACKAGES = {
  react: "19.3.1",
  "react-test-renderer": "19.3.1",
  svelte: "5.57.3",
  typescript: "7.0.2",
};

function isInstalled([name, version]) {
  try {
    return require(`${name}/package.json`).version === version;
  } catch {
    return false;
  }
}

if (process.argv[2] === "--install") {
  const names = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`);
  execFileSync("npm", ["install", "--silent", "--prefix", "target/node", ...names], { stdio: "inherit" });
} else if (!Object.entries(PACKAGES).every(isInstalled)) {
  process.exit(1);
}
