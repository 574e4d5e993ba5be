// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// The key servers that hold keys together now.
interface KeyServerSet {
    /// Block in which the current set was last replaced by a migration; 0 before the first one.
    function getCurrentLastChange() external view returns (uint256);

    /// Position of a member in `getCurrentKeyServers`; reverts for anybody else.
    function getCurrentKeyServerIndex(address keyServer) external view returns (uint8);

    /// Number of members; reverts at 256, which a uint8 cannot say.
    function getCurrentKeyServersCount() external view returns (uint8);

    function getCurrentKeyServer(uint8 index) external view returns (address);

    function getCurrentKeyServers() external view returns (address[] memory);

    /// Node id of a member: 64 bytes, X then Y.
    function getCurrentKeyServerPublic(address keyServer) external view returns (bytes memory);

    /// Network address of a member, `ip:port`.
    function getCurrentKeyServerAddress(address keyServer) external view returns (string memory);
}
