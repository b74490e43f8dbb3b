// Cross-origin isolation, without which a browser allows no threads, on hosts that do not set its headers.

const TRIED = "isolation-tried";

// Reloads the page once under a service worker that sets them; false if it does. Where that is not possible, one thread
// is used.
export async function isolate() {
  if (globalThis.crossOriginIsolated || navigator.serviceWorker === undefined || sessionStorage.getItem(TRIED)) return true;
  try {
    await navigator.serviceWorker.register(new URL("../isolation.js", import.meta.url));
    await navigator.serviceWorker.ready;
    sessionStorage.setItem(TRIED, "yes");
    location.reload();
    return false;
  } catch {
    return true; // the browser or the host does not allow it
  }
}
