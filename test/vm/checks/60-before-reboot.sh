# What is to be found again after a reboot: see the next file.
docker volume create kept >/dev/null
docker run -d --name mortal -v kept:/kept box /bin/sh -c 'echo remembered >/kept/file; exec sleep 100000' >/dev/null
docker run -d --name always --restart always box /bin/sleep 100000 >/dev/null
docker run -d --name stopped --restart unless-stopped box /bin/sleep 100000 >/dev/null
docker run -d --name steady --restart unless-stopped -p 8082:80 box /bin/sh -c 'echo open >/tmp/index.html; exec httpd -f -p 80 -h /tmp' >/dev/null
check 'containers are ready for the reboot' sh -c 'docker stop -t 0 stopped && [ "$(docker ps -q | wc -l)" = 3 ]'
cat /proc/sys/kernel/random/boot_id >boot
touch /run/rebooting
sync
systemctl reboot
sleep 600
