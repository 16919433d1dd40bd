"""A browser as a test drives it: Debian's chromium through its chromedriver, by the WebDriver protocol."""

import base64
import json
import subprocess
import threading
import time
import urllib.request

DRIVER = "/usr/bin/chromedriver"


class Browser:
    def __init__(self, folder, width=1200, height=900):
        self.log = open(f"{folder}/chromedriver.log", "w+")
        self.process = subprocess.Popen([DRIVER, "--port=0", f"--log-path={folder}/driver.log"], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        self.base = None
        for line in self.process.stdout:
            if "successfully on port" in line:
                self.base = f"http://127.0.0.1:{line.rstrip('.').split()[-1].rstrip('.')}"
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-dev-shm-usage", f"--user-data-dir={folder}/profile", f"--window-size={width},{height}"]
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.session = f"/session/{made['sessionId']}"

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def open(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def run(self, script, *arguments):
        """What a function's body of JavaScript returns."""
        return self.call("POST", self.session + "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def wait(self, script, seconds=30):
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return {script}"):
            assert time.monotonic() < end, f"never: {script}: {self.run('return document.body.innerText')}"
            threading.Event().wait(0.1)

    def console(self):
        """What was logged since the last call, of any level."""
        return self.call("POST", self.session + "/se/log", {"type": "browser"})

    def resize(self, width, height):
        """The page's own size, smaller than a window may be."""
        self.call("POST", self.session + "/goog/cdp/execute", {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}})

    def screenshot(self, path):
        whole = self.call("POST", self.session + "/goog/cdp/execute", {
            "cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": True}})
        with open(path, "wb") as file:
            file.write(base64.b64decode(whole["data"]))

    def close(self):
        try:
            self.call("DELETE", self.session)
        finally:
            self.process.terminate()
            self.process.wait(20)
            self.process.stdout.close()
            self.log.close()
