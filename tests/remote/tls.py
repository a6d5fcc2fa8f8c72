#!/usr/bin/env python3
"""A TLS proxy for tests, by OpenSSL, in front of a plain server on this machine.

usage: tls.py CERTIFICATE KEY PORT

Prints "ready OWN_PORT". It ends when its input ends, so it does not outlive a test.
"""

import asyncio
import ssl
import sys


async def pass_on(reader, writer):
    try:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(certificate, key, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def connected(reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    # Open connections end with this process.
    sys.stdin.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
