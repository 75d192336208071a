import { createHash } from "node:crypto";
import { defineConfig, type Plugin } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

/** What the page may do: run its own script, and speak to brokers. */
function policy(html: string): string {
  const hashes = (tag: string): string => {
    const found = html.matchAll(new RegExp(`<${tag}[^>]*>([\\s\\S]*?)</${tag}>`, "g"));
    return [...found].map(([, text = ""]) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`).join(" ");
  };
  return `default-src 'none'; script-src ${hashes("script")}; style-src ${hashes("style")}; img-src data:; connect-src ws: wss:; base-uri 'none'; form-action 'none'`;
}

const contentSecurityPolicy: Plugin = {
  name: "content-security-policy",
  enforce: "post",
  // While it is developed, the page's parts are served one by one.
  transformIndexHtml: { order: "post", handler: (html, { server }) => (server ? html.replace(/<meta[^>]*%POLICY%[^>]*>/, "") : html) },
  // After everything was written into the one file.
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      for (const part of Object.values(bundle)) {
        if (part.type !== "asset" || !part.fileName.endsWith(".html")) continue;
        const html = part.source.toString();
        part.source = html.replace("%POLICY%", () => policy(html));
      }
    },
  },
};

// One file: mosquitto's listener says no content type, without which browsers run no module and take no style sheet.
export default defineConfig({
  base: "./",
  build: { target: "es2022", modulePreload: false },
  plugins: [viteSingleFile({ removeViteModuleLoader: true }), contentSecurityPolicy],
});
